import { assert, describe, it } from "@effect/vitest"
import { JsonSchema, Schema, SchemaRepresentation } from "effect"
import * as Chance from "../../../../src/testing/simulator/internal/Chance.ts"
import { fitting } from "../../../../src/testing/simulator/internal/SchemaValue.ts"

/** Whether Effect, which reads JSON schemas too, takes the value for one that fits. */
const fits = (schema: JsonSchema.JsonSchema, value: unknown): boolean =>
  Schema.is(
    SchemaRepresentation.fromJsonSchemaDocument(JsonSchema.fromSchemaDraft2020_12(schema), { patterns: "apply" })
  )(value)

const object = (properties: Readonly<Record<string, object>>, more: object = {}) => ({
  type: "object",
  properties,
  required: Object.keys(properties),
  additionalProperties: false,
  ...more
})

const tree = {
  $ref: "#/$defs/Node",
  $defs: {
    Node: object({ name: { type: "string" }, children: { type: "array", items: { $ref: "#/$defs/Node" } } })
  }
}

const schemas: ReadonlyArray<readonly [name: string, schema: JsonSchema.JsonSchema]> = [
  [
    "texts with limits",
    object({ a: { type: "string", minLength: 30, maxLength: 32 }, b: { type: "string", maxLength: 2 } })
  ],
  ["a text without room", { type: "string", maxLength: 0 }],
  ["a pattern", { type: "string", pattern: "^[A-Z]{2}-[0-9]{3,5}$" }],
  ["a pattern with limits", { type: "string", pattern: "^a+$", minLength: 5, maxLength: 7 }],
  [
    "whole numbers",
    object({
      a: { type: "integer", minimum: 5, maximum: 6 },
      b: { type: "integer", exclusiveMinimum: -3, exclusiveMaximum: -1 }
    })
  ],
  [
    "numbers",
    object({ a: { type: "number", minimum: 0.1, maximum: 0.2 }, b: { type: "number", multipleOf: 0.25, minimum: 7 } })
  ],
  [
    "numbers below a limit",
    object({ a: { type: "integer", maximum: -10 }, b: { type: "number", exclusiveMaximum: 0 } })
  ],
  [
    "choices",
    object({ a: { enum: ["x", 3, null] }, b: { const: "c" }, c: { type: "boolean" }, d: { type: "null" } })
  ],
  ["several types", object({ a: { type: ["null", "integer"] }, b: { type: ["string", "null"] } })],
  ["alternatives", { anyOf: [{ type: "null" }, object({ a: { type: "integer" } }), { type: "string", maxLength: 1 }] }],
  ["alternatives beside properties", {
    type: "object",
    properties: { kind: { type: "string" } },
    required: ["kind"],
    oneOf: [{ properties: { kind: { const: "a" }, n: { type: "integer" } }, required: ["n"] }, {
      properties: { kind: { const: "b" } }
    }]
  }],
  ["combinations", {
    allOf: [
      { type: "object", properties: { a: { type: "number", minimum: 2 } }, required: ["a"] },
      { properties: { a: { maximum: 3 }, b: { type: "string" } }, required: ["b"] }
    ]
  }],
  [
    "lists",
    object({
      a: { type: "array", items: { type: "integer" }, minItems: 4, maxItems: 5 },
      b: { type: "array", items: { enum: ["x", "y", "z"] }, minItems: 3, uniqueItems: true },
      c: { type: "array", maxItems: 0 }
    })
  ],
  ["tuples", { type: "array", prefixItems: [{ type: "string" }, { type: "integer" }], items: false, minItems: 2 }],
  ["maps", { type: "object", additionalProperties: { type: "integer" }, minProperties: 2 }],
  ["anything", {}],
  ["what contains itself", tree],
  ["what contains itself in many places", {
    $ref: "#/$defs/N",
    $defs: {
      N: {
        type: "object",
        properties: Object.fromEntries(
          ["a", "b", "c", "d"].map((name) => [name, { anyOf: [{ $ref: "#/$defs/N" }, { type: "null" }] }])
        )
      }
    }
  }]
]

describe("a value that fits a schema", () => {
  for (const [name, schema] of schemas) {
    it(`for ${name}`, () => {
      for (let seed = 0; seed < 50; seed++) {
        const value = fitting(schema, Chance.make(String(seed)))
        assert.isTrue(fits(schema, value), `${seed}: ${JSON.stringify(value)}`)
        assert.isBelow(JSON.stringify(value).length, 50_000)
      }
    })
  }

  it("has the usual formats", () => {
    const formats = {
      "date-time": /^\d{4}-\d\d-\d\dT[\d:]{8}Z$/,
      date: /^\d{4}-\d\d-\d\d$/,
      email: /^\w+@[\w.]+$/,
      uuid: /^[\da-f-]{36}$/,
      ipv4: /^192\.0\.2\.\d+$/
    }
    for (const [format, pattern] of Object.entries(formats)) {
      assert.match(String(fitting({ type: "string", format }, Chance.make(format))), pattern)
    }
  })

  it("keeps to limits that a client moved to the description", () => {
    const chance = Chance.make("x")
    const sdk = fitting({ type: "integer", description: "A page\n\n{minimum: 10, maximum: 12}" }, chance) as number
    assert.isTrue(sdk >= 10 && sdk <= 12)
    const other = fitting({ type: "string", description: "min length: 5; max length: 6; pattern: ^b+$." }, chance)
    assert.match(String(other), /^b{5,6}$/)
    assert.match(String(fitting({ type: "string", description: "{pattern: \"^\\\\d{4}$\"}" }, chance)), /^\d{4}$/)
    assert.isString(fitting({ type: "string", description: "Note: minimum effort" }, chance))
  })

  it("is something for what no value fits, and ends", () => {
    const chance = Chance.make("x")
    const endless = { $ref: "#/$defs/A", $defs: { A: object({ a: { $ref: "#/$defs/A" } }), B: { $ref: "#/$defs/B" } } }
    for (
      const schema of [
        true,
        false,
        null,
        7,
        endless,
        { $ref: "#/$defs/B", $defs: endless.$defs },
        { $ref: "#/nowhere" },
        { type: "strange" },
        { type: "string", pattern: "(" },
        { type: "integer", minimum: 3, maximum: 1 },
        { type: "array", minItems: 1e9 },
        { type: "string", minLength: 1e12 }
      ]
    ) {
      assert.isDefined(fitting(schema, chance))
    }
  })
})
