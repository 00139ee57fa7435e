import { assert, describe, it } from "@effect/vitest"
import { Duration, Result } from "effect"
import { Fault } from "effect-claude/testing/Simulator"
import { parse } from "../../../src/Cli/internal/faults.ts"

const ruleOf = (text: string) => Result.getOrThrow(parse(text))

const problemOf = (text: string) => Result.getOrThrow(Result.flip(parse(text)))

describe("a fault as a flag", () => {
  it("has a kind", () => {
    assert.deepStrictEqual(
      ruleOf("429,retry-after=2").fault,
      Fault.Status({ status: 429, headers: { "retry-after": "2" } })
    )
    assert.deepStrictEqual(ruleOf("cut").fault, Fault.ResetMidStream({ after: { events: 3 } }))
    assert.deepStrictEqual(ruleOf("stall").fault, Fault.Stall({ after: "nothing" }))
    assert.deepStrictEqual(ruleOf("stall,after=0").fault, Fault.Stall({ after: { events: 0 } }))
    const kinds = ["reset", "error", "truncate", "garbage", "refuse", "drip"].map((kind) => ruleOf(kind).fault._tag)
    assert.deepStrictEqual(kinds, ["ResetBeforeHeaders", "ErrorEvent", "Truncate", "Garbage", "Refused", "Drip"])
  })

  it("says when it strikes", () => {
    const { when } = ruleOf("529, probability=0.1, times=3, from=10s, until=1 minute, model=haiku")
    assert.deepInclude(when, { probability: 0.1, times: 3 })
    assert.deepStrictEqual([when?.from, when?.until].map((time) => Duration.toMillis(time ?? 0)), [10_000, 60_000])
    const seen = (model: string) =>
      when?.request?.({
        method: "POST",
        path: "/v1/messages",
        model,
        stream: false,
        key: undefined,
        organization: undefined
      })
    assert.deepStrictEqual([seen("claude-haiku-5-5"), seen("claude-opus-5-5")], [true, false])
  })

  it("is refused with what is expected", () => {
    assert.match(problemOf("200"), /the kind is a status from 400 to 599, or one of reset, /)
    assert.match(problemOf(""), /the kind is a status/)
    assert.match(problemOf("529,often"), /there is no often; known are probability=, times=, /)
    assert.match(problemOf("529,toString=1"), /there is no toString=1/)
    assert.match(problemOf("529,probability=1.1"), /probability is from 0 to 1/)
    assert.match(problemOf("529,times=0.5"), /times is an integer from 1/)
    assert.match(problemOf("529,from=10"), /from is a duration such as 10s/)
    assert.match(problemOf("529,model="), /model is the name of a model/)
  })
})
