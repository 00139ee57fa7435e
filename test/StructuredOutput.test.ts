import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Schema, SchemaGetter } from "effect"
import { ClaudeError, ClaudeService, type Request, StructuredOutput } from "effect-claude"
import * as ClaudeTest from "effect-claude/testing/ClaudeTest"
import * as Simulator from "effect-claude/testing/Simulator"
import { inspect } from "node:util"
import { type Case, cases } from "./utils/structures.ts"

const Answer = Schema.Struct({ city: Schema.String, note: Schema.optionalKey(Schema.String) })

const ask = <S extends Schema.Constraint>(schema: S, ...script: ReadonlyArray<ClaudeTest.Answer>) =>
  Effect.provide(StructuredOutput.object(ClaudeTest.hello, schema), ClaudeTest.layer(...script))

/** Everything that a log could show of an error. */
const shown = (error: ClaudeError.ObjectError): string =>
  [error.message, String(error), error.stack, JSON.stringify(error), inspect(error), Cause.pretty(Cause.fail(error))]
    .join("\n")

describe("an object", () => {
  it.effect("is asked for by its schema, beside the other output options", () =>
    Effect.gen(function*() {
      const request: Request.Request = { ...ClaudeTest.hello, output_config: { effort: "low" } }
      const value = yield* StructuredOutput.object(request, Answer)
      assert.deepStrictEqual(value, { city: "Paris" })
      const [asked] = yield* ClaudeTest.requests
      assert.deepStrictEqual(asked?.output_config as unknown, {
        effort: "low",
        format: {
          type: "json_schema",
          schema: {
            type: "object",
            properties: { city: { type: "string" }, note: { anyOf: [{ type: "string" }, { type: "null" }] } },
            required: ["city", "note"],
            additionalProperties: false
          }
        }
      })
    }).pipe(Effect.provide(ClaudeTest.layer(`{"city":"Paris","note":null}`))))

  it.effect("is read also where it is written as its schema writes it", () =>
    Effect.gen(function*() {
      const Both = Schema.Struct({ ...Answer.fields, of: Schema.Record(Schema.String, Schema.Int) })
      assert.deepStrictEqual(yield* ask(Both, `{"city":"Paris","of":{"a":1}}`), { city: "Paris", of: { a: 1 } })
      assert.deepStrictEqual(yield* ask(Both, `{"city":"Paris","note":null,"of":[{"key":"a","value":1}]}`), {
        city: "Paris",
        of: { a: 1 }
      })
    }))

  it.effect("takes its schema first or last", () =>
    Effect.gen(function*() {
      const cityOf = StructuredOutput.object(Answer)
      assert.deepStrictEqual(yield* cityOf(ClaudeTest.hello), { city: "Rome" })
    }).pipe(Effect.provide(ClaudeTest.layer(`{"city":"Rome"}`))))

  it.effect("has its report", () =>
    Effect.gen(function*() {
      const report = yield* StructuredOutput.objectWithReport(ClaudeTest.hello, Answer)
      assert.strictEqual(report.value.city, "Oslo")
      assert.strictEqual(report.attempts, 1)
      assert.isAbove(report.costNanoUsd!, 0)
      assert.strictEqual(report.message.stop_reason, "end_turn")
    }).pipe(Effect.provide(ClaudeTest.layer(`{"city":"Oslo"}`))))

  it.effect("is what the simulated API makes of any format", () =>
    Effect.gen(function*() {
      const value = yield* StructuredOutput.object(ClaudeTest.hello, Answer)
      assert.isTrue(Schema.is(Answer)(value))
    }).pipe(Effect.provide(Simulator.layerClaude())))

  it.effect("is read from the message of a stream that asked for its format", () =>
    Effect.gen(function*() {
      const message = yield* ClaudeService.create({
        ...ClaudeTest.hello,
        output_config: { format: StructuredOutput.format(Answer) }
      })
      assert.deepStrictEqual(yield* StructuredOutput.decode(message, Answer), { city: "Bern" })
      assert.deepStrictEqual(yield* StructuredOutput.decode(Answer)(message), { city: "Bern" })
    }).pipe(Effect.provide(ClaudeTest.layer(`{"city":"Bern"}`))))

  it.effect("of a recursive schema is a defect, and nothing is sent", () =>
    Effect.gen(function*() {
      interface Tree {
        readonly children: ReadonlyArray<Tree>
      }
      const Tree = Schema.Struct({ children: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree)) })
      const exit = yield* Effect.exit(StructuredOutput.object(ClaudeTest.hello, Tree))
      assert.isTrue(Exit.hasDies(exit))
      assert.isEmpty(yield* ClaudeTest.calls)
    }).pipe(Effect.provide(ClaudeTest.layer("{}"))))
})

describe("an answer that is no object", () => {
  it.effect.each(
    [
      ["refusal", "refusal"],
      ["max_tokens", "maxTokens"],
      ["model_context_window_exceeded", "contextWindow"],
      ["pause_turn", "pausedTurn"]
    ] as const
  )("ended with %s, and says so with its message and its cost", ([stopReason, reason]) =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ask(Answer, { content: [`{"city":"Par`], stopReason }))
      assert(error._tag === "IncompleteAnswerError")
      assert.strictEqual(error.reason, reason)
      assert.strictEqual(error.answer?.stop_reason, stopReason)
      assert.isAbove(error.costNanoUsd!, 0)
      assert.notInclude(shown(error), "Par")
    }))

  it.effect("carries its message and its cost, and shows neither it nor what checks say of it", () =>
    Effect.gen(function*() {
      const Checked = Schema.Struct({
        age: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 150 })),
        name: Schema.String.check(Schema.makeFilter((name) => `bad name ${name}`)),
        of: Schema.Record(Schema.String, Schema.Int)
      })
      const json = `{"age":4711,"name":"hush","of":[{"key":"secret","value":"whisper"}]}`
      const error = yield* Effect.flip(ask(Checked, json))
      assert(error._tag === "AnswerMismatchError")
      assert.deepStrictEqual(error.issues, [
        "age: expected a value between 0 and 150",
        "name: expected another value",
        "of.*: expected number"
      ])
      assert.notMatch(shown(error), /4711|hush|secret|whisper/)
      assert.strictEqual(error.answer.content[0]?.type === "text" && error.answer.content[0].text, json)
      assert.isAbove(error.costNanoUsd!, 0)
      assert.strictEqual(error.billed, "yes")
      assert.strictEqual(ClaudeError.httpStatus(error), 502)

      const codec = Schema.toCodecJson(ClaudeError.ObjectError)
      const back = yield* Schema.decodeEffect(codec)(yield* Schema.encodeEffect(codec)(error))
      assert.deepStrictEqual(back, error)
      assert.deepStrictEqual(back._tag === "AnswerMismatchError" && back.answer, error.answer)
    }))

  it.effect("names no key that the schema does not have, and no value that cannot be converted", () =>
    Effect.gen(function*() {
      const Days = Schema.Struct({
        days: Schema.Record(Schema.String, Schema.DateFromString),
        n: Schema.FiniteFromString
      })
      const error = yield* Effect.flip(ask(Days, `{"days":[{"key":"secret","value":"mumble"}],"n":"hush"}`))
      assert(error._tag === "AnswerMismatchError")
      assert.deepStrictEqual(error.issues, ["days.*: expected a valid Date", "n: expected a finite number"])
      assert.notMatch(shown(error), /secret|mumble|hush/)
    }))

  it.effect("names at most ten of what does not fit", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(ask(Schema.Array(Schema.Int), JSON.stringify(Array(30).fill("x"))))
      assert(error._tag === "AnswerMismatchError")
      assert.strictEqual(error.issues.length, 11)
      assert.strictEqual(error.issues.at(-1), "20 more")
    }))
})

it.effect(
  "1,000 schemas and answers: what fits is decoded, what does not is typed, and no value is shown",
  () =>
    Effect.suspend(() => {
      const all = [...cases(1_000)]
      return Effect.gen(function*() {
        const verdict = ({ schema }: Case) => Effect.exit(StructuredOutput.object(ClaudeTest.hello, schema))
        let mismatches = 0
        for (const one of all) {
          const { broken, json, schema, secrets, seed, value } = one
          assert.deepStrictEqual(yield* verdict(one), Exit.succeed(value), `seed ${seed}: ${json}`)
          const exit = yield* verdict(one)
          if (Exit.isSuccess(exit)) {
            // What was broken may fit all the same.
            assert.isTrue(Schema.is(schema)(exit.value), `seed ${seed}: ${broken}`)
            continue
          }
          const error = yield* Effect.flip(exit)
          assert(error._tag === "AnswerMismatchError", `seed ${seed}: ${error._tag}`)
          assert.isAbove(error.issues.length, 0)
          // Stacks are dear, and have nothing but the message.
          const said = mismatches++ < 20 ? shown(error) : `${error.message} ${JSON.stringify(error)}`
          for (const secret of secrets) assert.notInclude(said, secret, `seed ${seed}: ${broken}`)
        }
        assert.isAbove(mismatches, 500)
      }).pipe(Effect.provide(ClaudeTest.layer(...all.flatMap(({ broken, json }) => [json, broken]))))
    })
)

describe("types", () => {
  it("of values, errors and needs follow the schema", () => {
    class Rates extends Context.Service<Rates, { readonly rate: number }>()("Rates") {}
    const Converted = Schema.Finite.pipe(
      Schema.decodeTo(Schema.Finite, {
        decode: SchemaGetter.transformEffect((n: number) => Effect.map(Rates, ({ rate }) => n * rate)),
        encode: SchemaGetter.transform((n: number) => n)
      })
    )
    const call = StructuredOutput.object(
      ClaudeTest.hello,
      Schema.Struct({ price: Converted, at: Schema.DateFromString })
    )
    const typed: Effect.Effect<
      { readonly price: number; readonly at: Date },
      ClaudeError.ObjectError,
      ClaudeService.ClaudeService | Rates
    > = call
    // @ts-expect-error: the service that decodes is needed
    const short: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> = call
    const caught = Effect.catchTag(call, "AnswerMismatchError", ({ answer, costNanoUsd }) => {
      const cost: number | undefined = costNanoUsd
      return Effect.succeed({ price: cost ?? answer.usage.output_tokens, at: new Date(0) })
    })
    const left: Effect.Effect<unknown, ClaudeError.TextError, ClaudeService.ClaudeService | Rates> = caught
    const provided: Effect.Effect<unknown, unknown, ClaudeService.ClaudeService> = Effect.provide(
      call,
      Layer.succeed(Rates, { rate: 2 })
    )
    assert.isDefined([typed, short, left, provided])
  })
})
