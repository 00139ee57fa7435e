import { assert, describe, it } from "@effect/vitest"
import { decoder } from "../../../src/ClaudeApi/internal/eventStream.ts"

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

describe("decoder", () => {
  it("keeps an event whose CR and LF are cut apart by a piece without bytes", () => {
    const { broken, feed } = decoder(1_000)
    const rest = "\ndata: {\"type\":\"content_block_stop\",\"index\":0}\r\n\r\n"
    feed(bytes("data: {\"type\":\"message_start\",\"message\":{}}\n\n"))
    const events = ["event: content_block_stop\r", "", rest].flatMap((piece) => feed(bytes(piece)))
    assert.deepStrictEqual(events, [{ type: "content_block_stop", index: 0 }])
    assert.isUndefined(broken())
  })
})
