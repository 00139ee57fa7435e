/**
 * Traces in the wire format of protobuf, as `opentelemetry.proto.trace.v1.TracesData`: the bytes that Effect's own encoder makes, in one buffer and a
 * tenth of the time.
 */
import type * as OtlpResource from "effect/observability/OtlpResource"
import type { TraceData } from "effect/observability/OtlpTracer"

type ScopeSpans = TraceData["resourceSpans"][number]["scopeSpans"][number]
type Span = ScopeSpans["spans"][number]

/** The last three bits of a tag. */
const varintType = 0
const fixed64Type = 1
const bytesType = 2

const text = new TextEncoder()

/** Of a hexadecimal digit, in lower case or upper case. */
const nibble = (code: number): number => code < 58 ? code - 48 : (code | 32) - 87

/** A buffer that grows. */
class Writer {
  private bytes = new Uint8Array(65_536)
  private view = new DataView(this.bytes.buffer)
  private at = 0

  get written(): Uint8Array {
    return this.bytes.slice(0, this.at)
  }

  private reserve(size: number): void {
    if (this.at + size <= this.bytes.length) return
    const larger = new Uint8Array(2 * (this.at + size))
    larger.set(this.bytes.subarray(0, this.at))
    this.bytes = larger
    this.view = new DataView(larger.buffer)
  }

  private tag(field: number, type: number): void {
    this.reserve(16)
    this.bytes[this.at++] = field << 3 | type
  }

  /** Of at most 31 bits. */
  private short(value: number): void {
    while (value > 127) {
      this.bytes[this.at++] = value & 127 | 128
      value >>>= 7
    }
    this.bytes[this.at++] = value
  }

  varint(field: number, value: number | bigint): void {
    this.tag(field, varintType)
    if (typeof value === "number" && value >= 0 && value < 2 ** 31) return this.short(value)
    let left = BigInt.asUintN(64, BigInt(value))
    while (left > 127n) {
      this.bytes[this.at++] = Number(left & 127n) | 128
      left >>= 7n
    }
    this.bytes[this.at++] = Number(left)
  }

  fixed64(field: number, value: bigint): void {
    this.tag(field, fixed64Type)
    this.view.setBigUint64(this.at, value, true)
    this.at += 8
  }

  double(field: number, value: number): void {
    this.tag(field, fixed64Type)
    this.view.setFloat64(this.at, value, true)
    this.at += 8
  }

  raw(field: number, value: Uint8Array): void {
    this.tag(field, bytesType)
    this.short(value.length)
    this.reserve(value.length)
    this.bytes.set(value, this.at)
    this.at += value.length
  }

  hex(field: number, value: string): void {
    this.tag(field, bytesType)
    this.short(value.length >> 1)
    this.reserve(value.length)
    for (let index = 0; index < value.length; index += 2) {
      this.bytes[this.at++] = nibble(value.charCodeAt(index)) << 4 | nibble(value.charCodeAt(index + 1))
    }
  }

  string(field: number, value: string): void {
    const { length } = value
    if (length > 127) return this.raw(field, text.encode(value))
    const start = this.at
    this.tag(field, bytesType)
    this.reserve(length + 1)
    this.bytes[this.at++] = length
    for (let index = 0; index < length; index++) {
      const code = value.charCodeAt(index)
      if (code > 127) {
        this.at = start
        return this.raw(field, text.encode(value))
      }
      this.bytes[this.at++] = code
    }
  }

  /** Begins a message and gives what ends it. */
  begin(field: number): number {
    this.tag(field, bytesType)
    return ++this.at
  }

  /** Moves a message that is longer than the byte which was left for its length can say. */
  end(start: number): void {
    const length = this.at - start
    let more = 0
    for (let left = length >>> 7; left > 0; left >>>= 7) more++
    this.reserve(more)
    if (more > 0) this.bytes.copyWithin(start + more, start, this.at)
    this.at = start - 1
    this.short(length)
    this.at = start + more + length
  }
}

const writeValue = (writer: Writer, value: OtlpResource.AnyValue): void => {
  const { arrayValue, boolValue, bytesValue, doubleValue, intValue, kvlistValue, stringValue } = value
  if (stringValue !== undefined && stringValue !== null) return writer.string(1, stringValue)
  if (boolValue !== undefined && boolValue !== null) return writer.varint(2, boolValue ? 1 : 0)
  if (intValue !== undefined && intValue !== null) {
    return writer.varint(3, typeof intValue === "string" ? BigInt(intValue) : intValue)
  }
  if (doubleValue !== undefined && doubleValue !== null) return writer.double(4, doubleValue)
  if (bytesValue !== undefined) return writer.raw(7, bytesValue)
  if (arrayValue !== undefined) {
    const start = writer.begin(5)
    for (const item of arrayValue.values) {
      const each = writer.begin(1)
      writeValue(writer, item)
      writer.end(each)
    }
    return writer.end(start)
  }
  if (kvlistValue === undefined) return
  const start = writer.begin(6)
  writeAttributes(writer, 1, kvlistValue.values)
  writer.end(start)
}

const writeAttributes = (writer: Writer, field: number, attributes: ReadonlyArray<OtlpResource.KeyValue>): void => {
  for (const { key, value } of attributes) {
    const start = writer.begin(field)
    writer.string(1, key)
    const at = writer.begin(2)
    writeValue(writer, value)
    writer.end(at)
    writer.end(start)
  }
}

const writeCount = (writer: Writer, field: number, count: number): void => {
  if (count > 0) writer.varint(field, count)
}

const writeSpan = (writer: Writer, span: Span): void => {
  writer.hex(1, span.traceId)
  writer.hex(2, span.spanId)
  if (span.parentSpanId !== undefined) writer.hex(4, span.parentSpanId)
  writer.string(5, span.name)
  writer.varint(6, span.kind)
  writer.fixed64(7, BigInt(span.startTimeUnixNano))
  writer.fixed64(8, BigInt(span.endTimeUnixNano))
  writeAttributes(writer, 9, span.attributes)
  writeCount(writer, 10, span.droppedAttributesCount)
  for (const event of span.events) {
    const start = writer.begin(11)
    writer.fixed64(1, BigInt(event.timeUnixNano))
    writer.string(2, event.name)
    writeAttributes(writer, 3, event.attributes)
    writeCount(writer, 4, event.droppedAttributesCount)
    writer.end(start)
  }
  writeCount(writer, 12, span.droppedEventsCount)
  for (const link of span.links) {
    const start = writer.begin(13)
    writer.hex(1, link.traceId)
    writer.hex(2, link.spanId)
    writeAttributes(writer, 4, link.attributes)
    writeCount(writer, 5, link.droppedAttributesCount)
    writer.end(start)
  }
  writeCount(writer, 14, span.droppedLinksCount)
  const { code, message = "" } = span.status
  const start = writer.begin(15)
  if (message !== "") writer.string(2, message)
  writer.varint(3, code)
  writer.end(start)
}

const writeScope = (writer: Writer, { schemaUrl = "", scope, spans }: ScopeSpans): void => {
  const start = writer.begin(1)
  writer.string(1, scope.name)
  if (scope.version !== undefined && scope.version !== "") writer.string(2, scope.version)
  writer.end(start)
  for (const span of spans) {
    const each = writer.begin(2)
    writeSpan(writer, span)
    writer.end(each)
  }
  if (schemaUrl !== "") writer.string(3, schemaUrl)
}

export const encode = ({ resourceSpans }: TraceData): Uint8Array => {
  const writer = new Writer()
  for (const { resource, schemaUrl = "", scopeSpans } of resourceSpans) {
    const all = writer.begin(1)
    const start = writer.begin(1)
    writeAttributes(writer, 1, resource.attributes)
    writeCount(writer, 2, resource.droppedAttributesCount)
    writer.end(start)
    for (const spans of scopeSpans) {
      const each = writer.begin(2)
      writeScope(writer, spans)
      writer.end(each)
    }
    if (schemaUrl !== "") writer.string(3, schemaUrl)
    writer.end(all)
  }
  return writer.written
}
