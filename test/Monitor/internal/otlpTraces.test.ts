/** Byte for byte what Effect's own encoder makes, which the receivers of others read in the tests beside this. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { OtlpSerialization, type OtlpTracer } from "effect/observability"
import { encode } from "../../../src/Monitor/internal/otlpTraces.ts"

const Text = Schema.Union([Schema.String, Schema.Literals(["", "ü".repeat(90), "x".repeat(127), "x".repeat(128)])])
const Id = Schema.Literals(["00f067aa0ba902b7", "ffffffffffffffff"])
const Nanos = Schema.Literals(["1764169200000000000", "0", "18446744073709551615"])
const Count = Schema.Literals([0, 1, 200])

const Value = Schema.Union([
  Schema.Struct({ stringValue: Text }),
  Schema.Struct({ boolValue: Schema.Boolean }),
  Schema.Struct({ intValue: Schema.Int }),
  Schema.Struct({ intValue: Schema.Literals(["-1", "9223372036854775807", "-9223372036854775808"]) }),
  Schema.Struct({ doubleValue: Schema.Number }),
  Schema.Struct({ arrayValue: Schema.Struct({ values: Schema.Array(Schema.Struct({ stringValue: Text })) }) }),
  Schema.Struct({
    kvlistValue: Schema.Struct({
      values: Schema.Array(Schema.Struct({ key: Text, value: Schema.Struct({ boolValue: Schema.Boolean }) }))
    })
  })
])

const Attributes = Schema.Array(Schema.Struct({ key: Text, value: Value }))
const dropped = { attributes: Attributes, droppedAttributesCount: Count }

const Span = Schema.Struct({
  ...dropped,
  traceId: Id,
  spanId: Id,
  parentSpanId: Schema.UndefinedOr(Id),
  name: Text,
  kind: Schema.Literals([1, 3]),
  startTimeUnixNano: Nanos,
  endTimeUnixNano: Nanos,
  events: Schema.Array(Schema.Struct({ ...dropped, name: Text, timeUnixNano: Nanos })),
  droppedEventsCount: Count,
  links: Schema.Array(Schema.Struct({ ...dropped, traceId: Id, spanId: Id })),
  droppedLinksCount: Count,
  status: Schema.Struct({ code: Schema.Literals([0, 1, 2]), message: Schema.optionalKey(Text) })
})

const Data = Schema.Struct({
  resourceSpans: Schema.Array(Schema.Struct({
    resource: Schema.Struct(dropped),
    scopeSpans: Schema.Array(Schema.Struct({
      scope: Schema.Struct({ name: Text, version: Schema.optionalKey(Text) }),
      spans: Schema.Array(Span),
      schemaUrl: Schema.optionalKey(Text)
    })),
    schemaUrl: Schema.optionalKey(Text)
  }))
})

describe("traces in protobuf", () => {
  it.effect.prop("are the bytes that Effect makes", [Data], ([data]) =>
    Effect.gen(function*() {
      const traces = data as unknown as OtlpTracer.TraceData // which is not readonly
      const { body } = (yield* OtlpSerialization.OtlpSerialization).traces(traces) as { body?: Uint8Array }
      assert.deepStrictEqual(encode(traces), body)
    }).pipe(Effect.provide(OtlpSerialization.layerProtobuf)), { arbitrary: { runs: 40, size: 4 } })
})
