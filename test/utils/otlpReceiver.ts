/** A receiver of OTLP that this project did not write: it decodes protobuf by the official schema, and JSON. */
// @ts-expect-error: it comes without types.
import { MockOtlpServer } from "@elastic/mockotlpserver"
import { Effect } from "effect"

export interface Attribute {
  readonly key: string
  readonly value: { readonly [type: string]: unknown }
}

export interface Span {
  readonly name: string
  readonly kind: string | number
  readonly traceId: Uint8Array | string
  readonly spanId: Uint8Array | string
  readonly parentSpanId?: Uint8Array | string
  readonly attributes: ReadonlyArray<Attribute>
  readonly events: ReadonlyArray<{ readonly name: string; readonly attributes: ReadonlyArray<Attribute> }>
  readonly status: { readonly code: string | number; readonly message?: string }
}

export interface Metric {
  readonly name: string
  readonly [kind: string]: unknown
}

export interface LogRecord {
  readonly severityText: string
  readonly body: { readonly stringValue?: string }
  readonly attributes: ReadonlyArray<Attribute>
}

/** What arrived at the receiver. */
export interface Received {
  readonly url: string
  readonly contentTypes: Set<string>
  readonly spans: Array<Span>
  readonly metrics: Array<Metric>
  readonly logs: Array<LogRecord>
}

type Scoped<Name extends string, Item> = { readonly [K in Name]: ReadonlyArray<Item> }

/** Bytes and numbers stand as JSON has them. */
const plain = <A>(message: unknown): A => {
  const bytes = (value: unknown): unknown => value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value
  return JSON.parse(JSON.stringify(message, function(this: { [key: string]: unknown }, key, value) {
    return this[key] instanceof Uint8Array ? bytes(this[key]) : value
  }))
}

/** A receiver on a free port of loopback. */
export const make = Effect.gen(function*() {
  const received = {
    contentTypes: new Set<string>(),
    spans: Array<Span>(),
    metrics: Array<Metric>(),
    logs: Array<LogRecord>()
  }
  const server = yield* Effect.acquireRelease(
    Effect.promise(async () => {
      const server = new MockOtlpServer({
        logLevel: "fatal",
        services: ["http"],
        httpHostname: "127.0.0.1",
        httpPort: 0,
        onRequest: (request: { readonly headers: { readonly [name: string]: string } }) =>
          received.contentTypes.add(request.headers["content-type"] ?? ""),
        onTrace: (trace: unknown) => {
          const { resourceSpans } = plain<
            { resourceSpans: ReadonlyArray<Scoped<"scopeSpans", Scoped<"spans", Span>>> }
          >(
            trace
          )
          received.spans.push(...resourceSpans.flatMap((one) => one.scopeSpans.flatMap(({ spans }) => spans)))
        },
        onMetrics: (metrics: unknown) => {
          const { resourceMetrics } = plain<
            { resourceMetrics: ReadonlyArray<Scoped<"scopeMetrics", Scoped<"metrics", Metric>>> }
          >(metrics)
          received.metrics.push(...resourceMetrics.flatMap((one) => one.scopeMetrics.flatMap(({ metrics }) => metrics)))
        },
        onLogs: (logs: unknown) => {
          const { resourceLogs } = plain<
            { resourceLogs: ReadonlyArray<Scoped<"scopeLogs", Scoped<"logRecords", LogRecord>>> }
          >(logs)
          received.logs.push(...resourceLogs.flatMap((one) => one.scopeLogs.flatMap(({ logRecords }) => logRecords)))
        }
      })
      await server.start()
      return server
    }),
    (server) => Effect.promise(() => server.close())
  )
  return { ...received, url: server.httpUrl.href } satisfies Received
})
