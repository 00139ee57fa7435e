/** Files of a prompt as content blocks. */
import type * as Prompt from "effect/ai/Prompt"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import { type Block, said } from "./metadata.ts"

const images = new Set(["image/jpeg", "image/png", "image/gif", "image/webp"])

/** The beginnings of images in base64. */
const beginnings = [["iVBORw0K", "image/png"], ["/9j/", "image/jpeg"], ["R0lGOD", "image/gif"], [
  "UklGR",
  "image/webp"
]] as const

/** Types that are text although they are not called so. */
const texts =
  /^(?:text\/.+|application\/(?:(?:x-)?(?:json|ndjson|xml|yaml|toml|javascript|typescript|sql|sh|csv|httpd-php)|.+\+(?:json|xml|yaml)))$/

const withoutParameters = (mediaType: string): string => mediaType.split(";")[0]!.trim().toLowerCase()

const dataUrl = /^data:([^,]*?)(;base64)?,(.*)$/s

type Given =
  | { readonly url: string }
  | { readonly fileId: string }
  | { readonly bytes: Uint8Array }
  | { readonly text: string }
  | { readonly base64: string }

const given = (part: Prompt.FilePart): Given & { readonly mediaType: string } => {
  const mediaType = withoutParameters(part.mediaType)
  const { fileId } = said(part)
  if (fileId) return { fileId, mediaType }
  if (part.data instanceof Uint8Array) return { bytes: part.data, mediaType }
  const data = String(part.data)
  const inline = dataUrl.exec(data)
  if (inline !== null) {
    const [, ofUrl, isBase64, rest] = inline
    const own = withoutParameters(ofUrl!) || mediaType
    if (isBase64) return { base64: rest!, mediaType: own }
    return { text: Result.getOrElse(Result.try(() => decodeURIComponent(rest!)), () => rest!), mediaType: own }
  }
  return part.data instanceof URL || /^https?:\/\//i.test(data)
    ? { url: data, mediaType }
    : { base64: data, mediaType }
}

const decoder = new TextDecoder("utf-8", { fatal: true })

/** Base64 by contract. What is no base64 of a text is taken for the text itself. */
const textOf = (base64: string): string =>
  Result.getOrElse(
    Result.flatMap(Base64.decode(base64), (bytes) => Result.try(() => decoder.decode(bytes))),
    () => base64
  )

const base64Of = (file: Given): string =>
  "bytes" in file
    ? Base64.encode(file.bytes)
    : "text" in file
    ? Base64.encode(file.text)
    : "base64" in file
    ? file.base64
    : ""

const imageType = (mediaType: string, base64: string): string => {
  if (mediaType === "image/jpg") return "image/jpeg"
  if (mediaType !== "image/*") return mediaType
  return beginnings.find(([start]) => base64.startsWith(start))?.[1] ?? "image/jpeg"
}

/** A remote file: Claude fetches it, or has it already. */
const remote = (file: Given) =>
  "url" in file
    ? { type: "url", url: file.url }
    : "fileId" in file
    ? { type: "file", file_id: file.fileId }
    : undefined

const image = (file: Given & { readonly mediaType: string }): Result.Result<Block, string> => {
  const source = remote(file)
  if (source !== undefined) return Result.succeed({ type: "image", source })
  const data = base64Of(file)
  const mediaType = imageType(file.mediaType, data)
  return images.has(mediaType)
    ? Result.succeed({ type: "image", source: { type: "base64", media_type: mediaType, data } })
    : Result.fail(`Claude does not read images of the type "${mediaType}": send JPEG, PNG, GIF or WebP.`)
}

const documentSource = (file: Given & { readonly mediaType: string }) => {
  const source = remote(file)
  if (source !== undefined) return source
  if (file.mediaType === "application/pdf") {
    return { type: "base64", media_type: "application/pdf", data: base64Of(file) }
  }
  if (!texts.test(file.mediaType)) return undefined
  const data = "bytes" in file
    ? new TextDecoder().decode(file.bytes)
    : "text" in file
    ? file.text
    : textOf(base64Of(file))
  return { type: "text", media_type: "text/plain", data }
}

/** A file as a block, or why there is none for it. */
export const block = (part: Prompt.FilePart): Result.Result<Block, string> => {
  const file = given(part)
  if (file.mediaType.startsWith("image/")) return image(file)
  const source = documentSource(file)
  if (source === undefined) {
    return Result.fail(
      `Claude does not read files of the type "${file.mediaType}": send text, PDF or an image, or the text of the file.`
    )
  }
  const { citations, documentContext, documentTitle } = said(part)
  const title = documentTitle ?? part.fileName
  return Result.succeed({
    type: "document",
    source,
    ...(title === undefined ? undefined : { title }),
    ...(documentContext ? { context: documentContext } : undefined),
    ...(citations ? { citations } : undefined)
  })
}
