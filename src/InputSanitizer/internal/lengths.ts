/** The length to which the longest of some texts are cut, so that all together have at most `max` units. */
export const cutTo = (lengths: ReadonlyArray<number>, max: number): number => {
  let left = Math.max(0, max)
  const sorted = [...lengths].sort((a, b) => a - b)
  for (const [index, length] of sorted.entries()) {
    const share = Math.floor(left / (sorted.length - index))
    if (length > share) return share
    left -= length
  }
  return Infinity
}
