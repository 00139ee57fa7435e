/**
 * Requests to a simulator as they go over the wire, without a client that would mend them.
 */
import type { Message, RawMessageStreamEvent } from "@anthropic-ai/sdk/resources/messages"
import { Effect } from "effect"
import * as Simulator from "../../src/testing/Simulator.ts"

export const model = "claude-opus-5-5"

export const question = { role: "user", content: "How many stones are in the river?" } as const

/** A request that every check lets pass. */
export const ask = { model, max_tokens: 1_000, messages: [question] } as const

export interface Options {
  readonly method?: string
  readonly path?: string
  readonly headers?: Readonly<Record<string, string>>
}

/** What came back. Tests read the JSON that they expect and fail where it is another. */
export interface Answered {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // oxlint-disable-next-line typescript/no-explicit-any -- the shape is what the test looks at
  readonly json: any
}

export const send = Effect.fnUntraced(function*(body: unknown, options: Options = {}) {
  const { fetch } = yield* Simulator.Simulator
  return yield* Effect.promise(async (): Promise<Answered> => {
    const path = options.path ?? "/v1/messages"
    const response = await fetch(`https://api.test${path}`, {
      method: options.method ?? (body === undefined ? "GET" : "POST"),
      headers: { "x-api-key": Simulator.apiKey, "anthropic-version": "2026-10-21", ...options.headers },
      ...(body === undefined ? undefined : { body: body instanceof FormData ? body : JSON.stringify(body) })
    })
    const text = await response.text()
    const isJson = response.headers.get("content-type")?.startsWith("application/json") === true
    return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined }
  })
})

/** The answer to a request that has one. */
export const answer = (body: object, options?: Options) =>
  Effect.map(send({ ...ask, ...body }, options), ({ json, status, text }): Message => {
    if (status !== 200) throw new Error(text)
    return json
  })

/** The events of a streamed answer. */
export const events = (body: object) =>
  Effect.map(
    send({ ...ask, ...body, stream: true }),
    ({ text }) =>
      text.split("\n").filter((line) => line.startsWith("data: "))
        .map((line): RawMessageStreamEvent => JSON.parse(line.slice("data: ".length)))
  )
