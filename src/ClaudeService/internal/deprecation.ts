import * as Effect from "effect/Effect"
import * as Model from "../../Model.ts"

const messageOf = (model: Model.Model, now: number): string => {
  const { id, retiresOn } = model
  if (Model.lifecycleAt(model, now) === "retired") {
    return `The model ${id} was retired on ${retiresOn}: calls to it fail.`
  }
  const days = Model.daysToRetirement(model, now)
  const end = days === undefined ? "" : ` and retires on ${retiresOn}, in ${days} ${days === 1 ? "day" : "days"}`
  return `The model ${id} is deprecated${end}. Call a newer model instead.`
}

/** Logs that a model is deprecated or retired, if it is, and adds its id to those for which that was logged. */
export const warn = (model: Model.Model, warned: Set<string>): Effect.Effect<void> =>
  Effect.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    if (warned.has(model.id) || Model.lifecycleAt(model, now) === "active") return Effect.void
    warned.add(model.id)
    return Effect.logWarning(messageOf(model, now))
  })
