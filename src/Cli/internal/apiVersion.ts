/** Versions of the API, as `anthropic-version` names them. */

export const current = "2026-10-21"

/** The last version whose requests have a temperature; models that sample by themselves refuse it there too. */
const withTemperature = "2023-06-01"

/** The headers of a request that has this temperature, and the field. */
export const sampling = (temperature: number | undefined) => ({
  fields: temperature === undefined ? undefined : { temperature },
  headers: temperature === undefined ? undefined : { "anthropic-version": withTemperature }
})
