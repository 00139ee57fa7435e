/** Decompresses answers as they arrive: some servers compress though nobody asks for it. */
import type * as Undici from "undici"

/** The part of a stream of `node:zlib` that is used. This package compiles without the types of any runtime. */
interface Inflater {
  write(bytes: Uint8Array): boolean
  end(): void
  pause(): void
  resume(): void
  destroy(): void
  pipe(next: Inflater): Inflater
  on(event: "data", listener: (bytes: Uint8Array) => void): void
  on(event: "error", listener: (error: Error) => void): void
  on(event: "end" | "drain", listener: () => void): void
}

interface Zlib {
  readonly constants: Readonly<Record<string, number>>
  readonly createGunzip: (options: object) => Inflater
  readonly createInflate: (options: object) => Inflater
  readonly createBrotliDecompress: (options: object) => Inflater
  readonly createZstdDecompress?: (options: object) => Inflater
}

const zlibOf = (): Zlib | undefined =>
  (globalThis as { readonly process?: { readonly getBuiltinModule?: (name: string) => Zlib } })
    .process?.getBuiltinModule?.("node:zlib")

/** The window of RFC 9659. */
const maxZstdWindowLog = 23

/** Each gives all that it has when its input ends early: whether an answer is whole is decided by its content. */
const inflaterOf = (encoding: string): Inflater | undefined => {
  const zlib = zlibOf()
  if (zlib === undefined) return undefined
  const { constants } = zlib
  switch (encoding) {
    case "gzip":
    case "x-gzip":
      return zlib.createGunzip({ finishFlush: constants["Z_SYNC_FLUSH"] })
    case "deflate":
      return zlib.createInflate({ finishFlush: constants["Z_SYNC_FLUSH"] })
    case "br":
      return zlib.createBrotliDecompress({ finishFlush: constants["BROTLI_OPERATION_FLUSH"] })
    case "zstd":
      return zlib.createZstdDecompress?.({
        finishFlush: constants["ZSTD_e_flush"],
        params: { [constants["ZSTD_d_windowLogMax"] ?? 100]: maxZstdWindowLog }
      })
    default:
      return undefined
  }
}

/** The most encodings of one answer. */
const maxEncodings = 3

/** What takes the decompressed bytes. */
export interface Sink {
  readonly data: (bytes: Uint8Array) => void
  readonly end: () => void
  readonly failed: (error: Error) => void
}

/** Takes compressed bytes, and pauses whoever sends them while the sink is paused. */
export interface Decompressor {
  readonly data: (bytes: Uint8Array) => void
  readonly end: () => void
  readonly pause: () => void
  readonly resume: () => void
  readonly destroy: () => void
}

/** The decompressor for a `content-encoding`; undefined where there is nothing to decompress, or nobody knows how. */
export const decompressor = (
  header: string | ReadonlyArray<string> | undefined,
  controller: Pick<Undici.Dispatcher.DispatchController, "pause" | "resume">,
  sink: Sink
): Decompressor | undefined => {
  const encodings = String(header ?? "").toLowerCase().split(",").map((name) => name.trim())
    .filter((name) => name !== "" && name !== "identity")
  if (encodings.length > maxEncodings) return undefined
  // The last encoding was applied last.
  const chain = encodings.reverse().map(inflaterOf)
  const inflaters = chain.filter((inflater) => inflater !== undefined)
  const [first, last] = [inflaters[0], inflaters.at(-1)]
  if (first === undefined || last === undefined || inflaters.length < chain.length) return undefined
  inflaters.forEach((inflater, i) => {
    inflater.on("error", sink.failed)
    const next = inflaters[i + 1]
    if (next !== undefined) inflater.pipe(next)
  })
  last.on("data", sink.data)
  last.on("end", sink.end)
  first.on("drain", () => controller.resume())
  return {
    data: (bytes) => {
      if (!first.write(bytes)) controller.pause()
    },
    end: () => first.end(),
    pause: () => last.pause(),
    resume: () => last.resume(),
    destroy: () => inflaters.forEach((inflater) => inflater.destroy())
  }
}
