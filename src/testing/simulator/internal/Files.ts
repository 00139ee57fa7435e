/**
 * Uploaded files. Only what describes them is kept: what a model would read in them changes nothing here.
 */
import type { FileMetadata } from "@anthropic-ai/sdk/resources/files"
import * as DateTime from "effect/DateTime"
import type * as Keys from "./Keys.ts"
import * as Pages from "./Pages.ts"
import type { Asked, Reply, Resource } from "./Resource.ts"
import type { Block, Body, Refusal } from "./Wire.ts"
import { refuse } from "./Wire.ts"

interface Stored {
  readonly info: FileMetadata
  readonly workspace: string
  readonly expires: number
}

/** A field of a form, as text of one byte for each character. */
interface Field {
  readonly name: string
  readonly filename: string | undefined
  readonly type: string
  readonly content: string
}

const utf8 = new TextDecoder()

/** A text of one byte for each character. */
const latin1 = (bytes: Uint8Array): string => {
  let out = ""
  for (let i = 0; i < bytes.length; i += 8_192) out += String.fromCharCode(...bytes.subarray(i, i + 8_192))
  return out
}

/** The fields of a `multipart/form-data` body; undefined where it is none. */
const fieldsOf = (bytes: Uint8Array, contentType: string): ReadonlyArray<Field> | undefined => {
  const boundary = /^multipart\/form-data\b.*boundary="?([^";]+)"?/i.exec(contentType)?.[1]
  if (boundary === undefined) return undefined
  const parts = `\r\n${latin1(bytes)}`.split(`\r\n--${boundary}`)
  if (parts.length < 3 || !parts.at(-1)!.startsWith("--")) return undefined
  return parts.slice(1, -1).map((part) => {
    const middle = part.indexOf("\r\n\r\n")
    const head = part.slice(0, middle)
    const filename = /;\s*filename="((?:[^"\\]|\\.)*)"/i.exec(head)?.[1]
    return {
      name: /;\s*name="([^"]*)"/i.exec(head)?.[1] ?? "",
      filename: filename === undefined
        ? undefined
        : utf8.decode(Uint8Array.from(filename, (byte) => byte.charCodeAt(0))),
      type: /^content-type:\s*([^\r\n]+)/im.exec(head)?.[1] ?? "application/octet-stream",
      content: part.slice(middle + 4)
    }
  })
}

/** The ids of the files that a block refers to. */
const idsIn = (block: Block): ReadonlyArray<unknown> => {
  if (block.type === "container_upload") return [block["file_id"]]
  const { content, source } = block as {
    readonly content?: unknown
    readonly source?: Readonly<Record<string, unknown>>
  }
  if (source?.["type"] === "file") return [source["file_id"]]
  return block.type === "tool_result" && Array.isArray(content) ? content.flatMap(idsIn) : []
}

export const make = (now: () => number, capacity: number, nextId: () => string) => {
  const files = new Map<string, Stored>()

  /** A file of a workspace, or why there is none. */
  const find = (id: unknown, { workspace }: Keys.Key): Stored | Refusal => {
    const file = typeof id === "string" ? files.get(id) : undefined
    if (file === undefined || file.workspace !== workspace) return refuse(404, `File not found: ${String(id)}`)
    return now() >= file.expires ? refuse(404, `The file ${String(id)} has expired.`, "file_expired") : file
  }

  const upload = ({ bytes, header, key }: Asked): Reply | Refusal => {
    const fields = fieldsOf(bytes, header("content-type") ?? "")
    if (fields === undefined) return refuse(400, "The request body is not multipart/form-data.")
    const file = fields.find(({ name }) => name === "file")
    if (file?.filename === undefined) return refuse(400, "file: Field required")
    if (!/^[^<>:"|?*\\/\p{Cc}]{1,500}$/u.test(file.filename)) {
      return refuse(400, "file: the filename is not allowed")
    }
    if (files.size >= capacity) return refuse(400, "There is no room for another file.", "storage_quota_exceeded")
    const given = fields.find(({ name }) => name === "expires_in_seconds")?.content
    const seconds = given === undefined ? undefined : Number(given)
    if (seconds !== undefined && !(Number.isInteger(seconds) && seconds > 0)) {
      return refuse(400, "expires_in_seconds: Input should be a positive integer")
    }
    const created = now()
    const expires = seconds === undefined ? Infinity : created + seconds * 1_000
    const instant = (millis: number) => DateTime.formatIso(DateTime.makeUnsafe(millis))
    const info: FileMetadata = {
      id: `file_${nextId().slice(4)}`,
      type: "file",
      filename: file.filename,
      mime_type: file.type,
      size_bytes: file.content.length,
      created_at: instant(created),
      expires_at: seconds === undefined ? null : instant(expires),
      downloadable: false
    }
    files.set(info.id, { info, workspace: key.workspace, expires })
    return { body: info }
  }

  const one = (file: Stored, { method, sub }: Asked): Reply | Refusal | undefined => {
    const { id } = file.info
    if (method === "GET" && sub === undefined) return { body: file.info }
    if (method === "GET" && sub === "content") {
      return refuse(400, `The file ${id} was uploaded and cannot be downloaded.`, "file_not_downloadable")
    }
    if (method !== "DELETE" || sub !== undefined) return undefined
    files.delete(id)
    return { body: { id, type: "file_deleted" } }
  }

  const resource: Resource = (asked) => {
    const { id, key, method, query } = asked
    if (id !== undefined) {
      const file = find(id, key)
      return "status" in file ? file : one(file, asked)
    }
    if (method === "POST") return upload(asked)
    if (method !== "GET") return undefined
    const own = [...files.values()].filter(({ expires, workspace }) => workspace === key.workspace && now() < expires)
    const wanted = [...query.getAll("ids"), ...query.getAll("ids[]")]
    const infos = own.map(({ info }) => info).filter((info) => wanted.length === 0 || wanted.includes(info.id))
      .reverse()
    return Pages.of(infos, wanted.length === 0 ? query : new URLSearchParams({ limit: "1000" }))
  }

  /** Why a request may not use a file that it names. */
  const missing = ({ messages }: Body, key: Keys.Key): Refusal | undefined => {
    for (const { content } of messages) {
      if (typeof content === "string") continue
      for (const block of content) {
        for (const id of idsIn(block)) {
          const file = find(id, key)
          if ("status" in file) return file
        }
      }
    }
    return undefined
  }

  return { resource, missing }
}
