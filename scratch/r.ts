import { redact } from "../src/ClaudeApi/internal/redact.ts"
const asking = (content: string) => ({ messages: [{ role: "user" as const, content }] })
const words =
  "please summarize the committee minutes about quota and budgets without found messages tool_use ids were result blocks immediately after maximum tokens long image exceeds and the river was cold in may "
    .split(" ")
let big = ""
while (big.length < 250_000) big += words[(Math.random() * words.length) | 0] + " "
for (
  const said of [
    "messages.166: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_01. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
    "prompt is too long: 205351 tokens > 200000 maximum",
    "image exceeds 5 MB maximum: 6871234 bytes > 5242880 bytes",
    "cannot parse the river was cold",
    "x".repeat(4096),
    "\"ab\"'cd'`".repeat(500),
    "%41".repeat(1300),
    "\\u0041".repeat(700)
  ]
) {
  for (const c of [big, "日本語テキスト口令是芝麻开门".repeat(18_000), "é̂a".repeat(80_000), big.repeat(3)]) {
    const t = process.cpuUsage()
    const r = redact(said, asking(c), ["sk-ant-api03-abcdefghijklmnop", "x-header-value-123"])
    console.log((process.cpuUsage(t).user / 1000).toFixed(1), r.slice(0, 160))
  }
}
