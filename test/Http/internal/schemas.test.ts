/** What goes over the wire is read as it was, and nothing else is read. */
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import * as Http from "effect-claude/Http"

describe.each([["Event", Http.Event], ["Update", Http.Update]] as const)("%s", (_, schema: Schema.Codec<unknown>) => {
  it.prop("is read as it was written", [schema], ([value]) => {
    const plain = (value: unknown): unknown => JSON.parse(JSON.stringify(value))
    assert.deepStrictEqual(plain(Schema.decodeUnknownSync(schema)(plain(value))), plain(value))
  }, { arbitrary: { runs: 30 } })

  it("is nothing else", () => {
    for (const value of [{}, { _tag: "Exploded", at: 1, sequence: 1 }, "text", null]) {
      assert.throws(() => Schema.decodeUnknownSync(schema)(value))
    }
  })
})
