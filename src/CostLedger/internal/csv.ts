/** Records of a CSV text (RFC 4180), empty lines left out. */
export const parse = (text: string): ReadonlyArray<ReadonlyArray<string>> => {
  const records: Array<Array<string>> = []
  let record: Array<string> = []
  // A cell with what ends it: a comma, the end of its line, or the end of the text.
  for (
    const [, quoted, plain = "", end = ""] of text.replace(/^\uFEFF/, "").matchAll(
      /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/g
    )
  ) {
    record.push(quoted === undefined ? plain : quoted.replaceAll("\"\"", "\""))
    if (end === ",") continue
    if (record.some((cell) => cell !== "")) records.push(record)
    record = []
  }
  return records
}
