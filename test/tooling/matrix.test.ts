import { assert, describe, it } from "@effect/vitest"
import { combinations, lowest } from "../../scripts/matrix.ts"

const manifest = { engines: { node: ">=22.19.0" }, peerDependencies: { a: "^1.2.0", b: "^2.0.0" } }

describe("matrix", () => {
  it("takes the lowest version of a range, and refuses a range that it cannot read", () => {
    assert.strictEqual(lowest("^1.12.0"), "1.12.0")
    assert.strictEqual(lowest(">=22.19.0"), "22.19.0")
    assert.throws(() => lowest("1 || 2"))
  })

  it("has the oldest Node, and the peers that are not installed", () => {
    const found = combinations(manifest, { a: "1.3.0", b: "2.0.0" }, { a: "1.4.0", b: "2.0.0" })
    assert.strictEqual(found[0]?.node, "22.19.0")
    assert.deepStrictEqual(found.filter(({ peers }) => peers !== undefined), [
      { name: "oldest", peers: { a: "1.2.0" } },
      { name: "newest", peers: { a: "1.4.0" } }
    ])
  })

  it("leaves out what the lockfile has", () => {
    const newest = { a: "1.4.0", b: "2.1.0" }
    assert.isFalse(combinations(manifest, newest, newest).some(({ name }) => name === "newest"))
  })
})
