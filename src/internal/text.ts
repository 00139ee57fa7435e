/** The first `max` characters in memory of their own: a mere slice keeps all of the text that it was cut from. */
export const firstOf = (text: string, max: number): string =>
  text.length <= max ? text : ` ${text.slice(0, max)}`.slice(1)
