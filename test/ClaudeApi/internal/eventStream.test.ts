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

  const start = "data: {\"type\":\"message_start\",\"message\":{}}\n\n"
  const delta = "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n"

  it.each([[0xc0], [0xc1], [0xf5], [0xff], [0xed, 0xa0], [0xf4, 0x90], [0xe0, 0x80], [0xf0, 0x80]])(
    "is broken at once by bytes that begin no character: %i %i",
    (...bad) => {
      const { broken, end, feed, whole } = decoder(1_000)
      assert.lengthOf(feed(Uint8Array.of(...bytes(start + delta), ...bad)), 2)
      assert.deepStrictEqual(broken(), { _tag: "Malformed" })
      assert.deepStrictEqual([end(), whole()], [[], false])
    }
  )

  it.each(["é", "工", "😀", "\ufeff"])("reads %s wherever it is cut, and whatever begins the body", (character) => {
    const text = `data: {"type":"message_start","message":{"id":"${character.repeat(3)}"}}\n\n`
    for (const body of [text, `\ufeff${text}`, `\ufeff${character}\n${text}`]) {
      const all = bytes(body)
      for (let size = 1; size <= all.length; size++) {
        const { broken, feed } = decoder(1_000)
        const events = []
        for (let from = 0; from < all.length; from += size) events.push(...feed(all.subarray(from, from + size)))
        assert.deepStrictEqual(events.map((event) => event.type === "message_start" && event.message.id), [
          character.repeat(3)
        ])
        assert.isUndefined(broken())
      }
    }
  })
})
