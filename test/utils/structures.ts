/** Seeded schemas, values that fit them, and answers that may not. */
import { Schema } from "effect"

type AnyCodec = Schema.Codec<unknown, unknown>

/** A schema with a value of it, and that as the model writes it. */
interface Made {
  readonly schema: AnyCodec
  readonly value: unknown
  readonly json: unknown
}

export interface Case extends Omit<Made, "json"> {
  readonly seed: number
  readonly json: string
  /** The same with something broken. */
  readonly broken: string
  /** Texts of the value and of what was broken: errors show none of them. */
  readonly secrets: ReadonlyArray<string>
}

class Chance {
  private state: number
  readonly secrets: Array<string> = []
  constructor(seed: number) {
    this.state = (seed * 48_271 + 11) % 2_147_483_647
  }
  below(n: number): number {
    this.state = (this.state * 48_271) % 2_147_483_647
    return this.state % n
  }
  pick<A>(of: ReadonlyArray<A>): A {
    return of[this.below(of.length)]!
  }
  secret(): string {
    const text = `sekret${this.below(1e9)}`
    this.secrets.push(text)
    return text
  }
}

const codec = (schema: Schema.Constraint): AnyCodec => schema as AnyCodec // they need no services

const leaf = (chance: Chance): Made => {
  const made = chance.pick<() => Omit<Made, "json">>([
    () => ({ schema: Schema.String, value: chance.secret() }),
    () => ({ schema: Schema.String.check(Schema.isMinLength(3)), value: chance.secret() }),
    () => ({ schema: Schema.Finite, value: chance.below(1e6) / 8 }),
    () => ({
      schema: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 1e6 })),
      value: chance.below(1e6)
    }),
    () => ({ schema: Schema.Boolean, value: chance.below(2) === 0 }),
    () => ({ schema: Schema.Null, value: null }),
    () => ({ schema: codec(Schema.Literals(["red", "green", 3])), value: chance.pick(["red", "green", 3]) }),
    () => ({ schema: Schema.DateFromString, value: new Date(chance.below(1e9) * 1_000) }),
    () => ({ schema: Schema.FiniteFromString, value: chance.below(1e6) }),
    () => ({
      schema: Schema.String.check(Schema.makeFilter((text) => text.startsWith("sekret") || `not this: ${text}`)),
      value: chance.secret()
    })
  ])()
  return { ...made, json: Schema.encodeSync(made.schema)(made.value) }
}

const names = ["id", "name", "kind", "total", "with space", "type"]

const struct = (chance: Chance, depth: number): Made => {
  const fields = new Map<string, readonly [made: Made, isOptional: boolean, isThere: boolean]>()
  for (let n = chance.below(4); n >= 0; n--) {
    const made = structure(chance, depth - 1)
    const isOptional = chance.below(3) === 0
    // Absent and null are written the same where null is a value.
    const mayBeAbsent = isOptional && !Schema.is(made.schema)(null)
    fields.set(chance.pick(names), [made, isOptional, !mayBeAbsent || chance.below(2) === 0])
  }
  const all = [...fields]
  const isSparse = chance.below(4) === 0
  return {
    schema: codec(Schema.Struct(Object.fromEntries(
      all.map(([name, [{ schema }, isOptional]]) => [name, isOptional ? Schema.optionalKey(schema) : schema])
    ))),
    value: Object.fromEntries(all.flatMap(([name, [{ value }, , isThere]]) => isThere ? [[name, value]] : [])),
    json: Object.fromEntries(
      all.flatMap(([name, [{ json }, , isThere]]) => isThere || !isSparse ? [[name, isThere ? json : null]] : [])
    )
  }
}

const structure = (chance: Chance, depth: number): Made => {
  if (depth === 0) return leaf(chance)
  /** Written as it was asked for, or as the schema itself writes it. */
  const isOwn = chance.below(3) === 0
  return chance.pick<() => Made>([
    () => leaf(chance),
    () => struct(chance, depth),
    () => struct(chance, depth),
    () => {
      const { json, schema, value } = structure(chance, depth - 1)
      const length = chance.below(3)
      return { schema: Schema.Array(schema), value: Array(length).fill(value), json: Array(length).fill(json) }
    },
    () => {
      const { json, schema, value } = structure(chance, depth - 1)
      const keys = Array.from({ length: chance.below(3) }, () => chance.secret())
      return {
        schema: codec(Schema.Record(Schema.String, schema)),
        value: Object.fromEntries(keys.map((key) => [key, value])),
        json: isOwn ? Object.fromEntries(keys.map((key) => [key, json])) : keys.map((key) => ({ key, value: json }))
      }
    },
    () => {
      const places = [structure(chance, depth - 1), structure(chance, depth - 1), struct(chance, 1)]
      const json = places.map(({ json }) => json)
      return {
        schema: codec(Schema.Tuple(places.map(({ schema }) => schema))),
        value: places.map(({ value }) => value),
        json: isOwn ? json : { ...json }
      }
    },
    () => {
      const members = [struct(chance, depth), struct(chance, depth)]
      const tagged = members.map(({ schema }, n) => Schema.Struct({ _tag: Schema.Literal(`member${n}`), of: schema }))
      const n = chance.below(2)
      const of = (part: "value" | "json") => ({ _tag: `member${n}`, of: members[n]![part] })
      return { schema: codec(Schema.Union(tagged)), value: of("value"), json: of("json") }
    },
    () => {
      const made = structure(chance, depth - 1)
      return { ...made, schema: codec(Schema.NullOr(made.schema)), ...(isOwn ? { value: null, json: null } : {}) }
    }
  ])()
}

/** One place of some JSON with something else in it. */
const broken = (chance: Chance, json: unknown): unknown => {
  const isInside = typeof json === "object" && json !== null && Object.keys(json).length > 0 && chance.below(4) > 0
  if (!isInside) {
    return chance.pick<() => unknown>([
      () => chance.secret(),
      () => 47_110_815,
      () => ({ [chance.secret()]: chance.secret() }),
      () => [chance.secret()],
      () => null,
      () => true
    ])()
  }
  const key = chance.pick(Object.keys(json))
  const copy = (Array.isArray(json) ? [...json] : { ...json }) as Record<string, unknown>
  if (chance.below(5) === 0 && !Array.isArray(json)) delete copy[key]
  else copy[key] = broken(chance, (json as Record<string, unknown>)[key])
  return copy
}

export function* cases(count: number): Generator<Case> {
  const first = Date.now() % 1_000_000
  for (let seed = first; seed < first + count; seed++) {
    const chance = new Chance(seed)
    const { json, schema, value } = structure(chance, 3)
    const text = JSON.stringify(broken(chance, json))
    yield {
      seed,
      schema,
      value,
      json: JSON.stringify(json),
      broken: chance.below(20) === 0 ? text.slice(0, -1) : text,
      secrets: [...chance.secrets, "47110815"]
    }
  }
}
