/** Credentials by their published formats. Each is a prefix and a tail of a known length and alphabet, so that a look at every character once decides. */
import type { Severity } from "./rules.ts"

const digit = 1
const upper = 2
const lower = 4
const dash = 8
const hexLetter = 16

const alnum = digit | upper | lower
const word = alnum | dash
const hex = digit | hexLetter

/** Which alphabets a unit belongs to. */
const alphabets = Uint8Array.from({ length: 128 }, (_, unit) => {
  const char = String.fromCharCode(unit)
  return (/\d/.test(char) ? digit : 0) | (/[A-Z]/.test(char) ? upper : 0) | (/[a-z]/.test(char) ? lower : 0) |
    (/[-_]/.test(char) ? dash : 0) | (/[a-f]/.test(char) ? hexLetter : 0)
})

const startOf = (text: string, at: number): number => text.charCodeAt(at) * 128 + text.charCodeAt(at + 1)

interface Format {
  readonly name: string
  readonly prefix: string
  readonly alphabet: number
  readonly min: number
  readonly max: number
  readonly severity: Severity
}

const format = (
  name: string,
  prefix: string,
  alphabet: number,
  min: number,
  max = min,
  severity: Severity = "high"
): Format => ({ name, prefix, alphabet, min, max, severity })

const any = 400

const formats: ReadonlyArray<Format> = [
  format("anthropicKey", "sk-ant-", word, 45, any),
  format("openaiKey", "sk-proj-", word, 40, any),
  format("openaiKey", "sk-svcacct-", word, 40, any),
  format("openaiKey", "sk-admin-", word, 40, any),
  format("openaiKey", "sk-", alnum, 48),
  format("openrouterKey", "sk-or-v1-", hex, 64),
  format("groqKey", "gsk_", alnum, 48, 60),
  format("xaiKey", "xai-", alnum, 70, 90),
  format("huggingFaceToken", "hf_", alnum, 34, 40),
  format("replicateToken", "r8_", word, 37, 40),
  format("perplexityKey", "pplx-", alnum, 40, 64),
  format("nvidiaKey", "nvapi-", word, 60, 72),
  format("langsmithKey", "lsv2_pt_", word, 40, 60),
  format("awsAccessKey", "AKIA", digit | upper, 16),
  format("awsAccessKey", "ASIA", digit | upper, 16),
  format("googleKey", "AIza", word, 35),
  format("googleOAuthSecret", "GOCSPX-", word, 28),
  ...["ghp_", "gho_", "ghu_", "ghs_", "ghr_"].map((prefix) => format("githubToken", prefix, alnum, 36, 255)),
  format("githubToken", "github_pat_", word, 60, 120),
  format("gitlabToken", "glpat-", word, 20, 64),
  format("gitlabToken", "gldt-", word, 20, 64),
  format("slackToken", "xoxb-", word, 40, any),
  format("slackToken", "xoxp-", word, 40, any),
  format("slackToken", "xoxa-", word, 40, any),
  format("slackToken", "xoxs-", word, 40, any),
  format("slackToken", "xapp-", word, 40, any),
  format("stripeKey", "sk_live_", alnum, 24, 120),
  format("stripeKey", "rk_live_", alnum, 24, 120),
  format("stripeKey", "sk_test_", alnum, 24, 120, "low"),
  format("stripeSecret", "whsec_", alnum, 32, 80),
  format("npmToken", "npm_", alnum, 36),
  format("pypiToken", "pypi-", word, 80, any),
  format("dockerToken", "dckr_pat_", word, 27, 40),
  format("digitalOceanToken", "dop_v1_", hex, 64),
  format("digitalOceanToken", "doo_v1_", hex, 64),
  format("databricksToken", "dapi", hex, 32),
  format("shopifyToken", "shpat_", hex, 32),
  format("shopifyToken", "shpss_", hex, 32),
  format("squareSecret", "sq0csp-", word, 43),
  format("twilioKey", "SK", hex, 32),
  format("mailgunKey", "key-", hex, 32),
  format("postmanKey", "PMAK-", word, 59),
  format("linearKey", "lin_api_", alnum, 40),
  format("figmaToken", "figd_", word, 40, 60),
  format("notionToken", "ntn_", alnum, 40, 60),
  format("supabaseToken", "sbp_", hex, 40),
  format("planetscaleToken", "pscale_tkn_", word, 32, 64),
  format("atlassianToken", "ATATT3", word, 100, any),
  format("newRelicKey", "NRAK-", digit | upper, 27),
  format("ageKey", "AGE-SECRET-KEY-1", digit | upper, 58),
  format("facebookToken", "EAACEdEose0cBA", alnum, 20, any)
]

/** The formats by the first two units of their prefixes, as one number. */
const byStart = new Map<number, Array<Format>>()
for (const each of formats) {
  const key = startOf(each.prefix, 0)
  byStart.set(key, [...byStart.get(key) ?? [], each])
}

const none: ReadonlyArray<Format> = []

/** Not 0 for units with which a format begins. */
const first = Uint8Array.from(
  { length: 128 },
  (_, unit) => formats.some(({ prefix }) => prefix.charCodeAt(0) === unit) ? 1 : 0
)

/** Fewer different characters than this in the tail make a placeholder such as `sk_live_xxxxxxxxxxxxxxxxxxxxxxxx`. */
const minDistinct = 8

/** In so many characters a credential has enough different ones. */
const enough = 28

const distinct = (text: string, start: number, end: number): number => {
  let count = 0
  let low = 0
  let high = 0
  for (let at = start; at < Math.min(end, start + enough) && count < minDistinct; at++) {
    const unit = text.charCodeAt(at)
    const bit = 1 << (unit & 31)
    const seen = unit < 0x60 ? low : high
    if ((seen & bit) !== 0) continue
    count++
    if (unit < 0x60) low |= bit
    else high |= bit
  }
  return count
}

const placeholder = /example|placeholder|your[-_]?|redacted|abcdef|12345678|xxxx/i

const isPlaceholder = (text: string, start: number, end: number): boolean =>
  distinct(text, start, end) < minDistinct || placeholder.test(text.slice(start, end))

const consistsOf = (text: string, start: number, end: number, alphabet: number): boolean => {
  for (let at = start; at < end; at++) if ((alphabets[text.charCodeAt(at)]! & alphabet) === 0) return false // words are ASCII
  return true
}

export interface Secret {
  readonly rule: string
  readonly severity: Severity
  readonly start: number
  readonly end: number
}

const secret = (rule: string, start: number, end: number, severity: Severity = "high"): Secret => ({
  rule,
  severity,
  start,
  end
})

const known = (text: string, start: number, end: number): Secret | undefined => {
  for (const { alphabet, max, min, name, prefix, severity } of byStart.get(startOf(text, start)) ?? none) {
    const tail = start + prefix.length
    if (end - tail < min || end - tail > max || !text.startsWith(prefix, start)) continue
    if (distinct(text, tail, end) < minDistinct || !consistsOf(text, tail, end, alphabet)) continue
    if (placeholder.test(text.slice(tail, end))) continue
    return secret(name, start, end, severity)
  }
  return undefined
}

const wordEnd = (text: string, from: number): number => {
  let at = from
  while (at < text.length && ((alphabets[text.charCodeAt(at)] ?? 0) & word) !== 0) at++
  return at
}

const webToken = (text: string, start: number, end: number): Secret | undefined => {
  if (text.charCodeAt(start) !== 0x65 || !text.startsWith("eyJ", start) || !text.startsWith(".eyJ", end)) {
    return undefined
  }
  const payload = wordEnd(text, end + 1)
  const signature = text.charCodeAt(payload) === 0x2e ? wordEnd(text, payload + 1) : payload
  return signature - payload > 20 ? secret("jsonWebToken", start, signature, "medium") : undefined
}

const afterDot = (text: string, start: number, end: number): Secret | undefined => {
  if (end - start === 22 && text.startsWith("SG.", start - 3) && wordEnd(text, end + 1) === end + 44) {
    return secret("sendgridKey", start - 3, end + 44)
  }
  if (end - start >= 24 && text.startsWith("hvs.", start - 4)) return secret("vaultToken", start - 4, end)
  return end - start >= 40 && text.startsWith("ya29.", start - 5) ? secret("googleToken", start - 5, end) : undefined
}

const hook = /hooks\.slack\.com\/services\/T\w{5,12}\/B\w{5,12}\/$/

const afterSlash = (text: string, start: number, end: number): Secret | undefined => {
  if (end - start !== 24) return undefined
  const before = hook.exec(text.slice(Math.max(0, start - 64), start))
  return before === null ? undefined : secret("slackWebhook", start - before[0].length, end)
}

const bot = /(?:^|[^\w-])(\d{8,10}):$/

const afterColon = (text: string, start: number, end: number): Secret | undefined => {
  if (end - start !== 35) return undefined
  const id = bot.exec(text.slice(Math.max(0, start - 12), start))?.[1]
  return id === undefined ? undefined : secret("telegramToken", start - id.length - 1, end)
}

const awsNames = /^(?:aws_?)?secret_?access_?key$/i
const awsValue = /["'\s:=]{1,8}([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])/y

const awsSecret = (text: string, start: number, end: number): Secret | undefined => {
  const isNamed = end - start <= 21 && (text.charCodeAt(end - 1) | 0x20) === 0x79 &&
    awsNames.test(text.slice(start, end))
  if (!isNamed) return undefined
  awsValue.lastIndex = end
  if (!awsValue.test(text)) return undefined
  const last = awsValue.lastIndex
  return isPlaceholder(text, last - 40, last) ? undefined : secret("awsSecretKey", last - 40, last)
}

const keyHead = /-----BEGIN (?:[A-Z]{2,9} )?PRIVATE KEY(?: BLOCK)?-----[\s\\n]{0,4}$/
const keyTail = /-----END (?:[A-Z]{2,9} )?PRIVATE KEY(?: BLOCK)?-----/

/** The longest private key that is taken as a whole. */
const maxKey = 12_000

const privateKey = (text: string, start: number, end: number): Secret | undefined => {
  // The first line of the body follows the head, in a JSON text after `\n`.
  const before = text.charCodeAt(start - 2)
  if (end - start < 40 || (before !== 0x2d && before !== 0x0d && before !== 0x20)) return undefined
  const head = keyHead.exec(text.slice(Math.max(0, start - 90), start + (text.charCodeAt(start - 1) === 0x5c ? 1 : 0)))
  if (head === null) return undefined
  const body = text.slice(start, start + maxKey)
  const tail = keyTail.exec(body)
  return secret("privateKey", start - head[0].length, tail === null ? end : start + tail.index + tail[0].length)
}

const before = (text: string, start: number, end: number): Secret | undefined => {
  switch (text.charCodeAt(start - 1)) {
    case 0x2e:
      return afterDot(text, start, end)
    case 0x2f:
      return afterSlash(text, start, end)
    case 0x3a:
      return afterColon(text, start, end)
    case 0x0a:
    case 0x20:
    case 0x5c:
      return privateKey(text, start, end)
    default:
      return undefined
  }
}

/** Whether a word may be a credential or belong to one: a few comparisons that rule out nearly every word. */
export const mayBeSecret = (text: string, start: number, end: number): boolean => {
  if (first[text.charCodeAt(start)] !== 0 || text.charCodeAt(start) === 0x65) return true
  const before = text.charCodeAt(start - 1)
  if (before === 0x2e || before === 0x2f || before === 0x3a) return true
  return end - start >= 40 || (end - start <= 21 && (text.charCodeAt(end - 1) | 0x20) === 0x79)
}

/** The credential that a word of letters, digits, `-` and `_` is or belongs to. */
export const secretAt = (text: string, start: number, end: number): Secret | undefined =>
  known(text, start, end) ?? before(text, start, end) ?? webToken(text, start, end) ?? awsSecret(text, start, end)

/** A number that words with the same letters share, whatever stands between them. */
const hashOf = (hash: number, unit: number): number => {
  const letter = unit | 0x20
  return letter < 0x61 || letter > 0x7a ? hash : (Math.imul(hash, 31) + letter) | 0
}

/** Passwords of documentation, by their letters. */
const dummies = new Set(
  "pass password passwd pwd secret changeme example test admin root user qwerty abcdef abc mypassword yourpassword mysecret yoursecret dbpassword somepassword"
    .split(" ").map((word) => Array.from(word, (char) => char.charCodeAt(0)).reduce(hashOf, 0))
)

const isDigit = 1
const isOther = 2
/** A password with such a sign stands for another: `${password}`, `<password>`. */
const isSign = 4

const passwordBits = Uint8Array.from({ length: 128 }, (_, unit) => {
  const char = String.fromCharCode(unit)
  return (/\d/.test(char) ? isDigit : isOther) | (/[${}<>[\]%*]/.test(char) ? isSign : 0)
})

const minPassword = 8
const maxPassword = 128

/** Whether a stretch is a password, not what stands for one in documentation. */
const isPassword = (text: string, start: number, end: number): boolean => {
  if (end - start < minPassword || end - start > maxPassword) return false
  let bits = 0
  let hash = 0
  let crosses = 0
  for (let at = start; at < end && crosses < 3; at++) {
    const unit = text.charCodeAt(at)
    bits |= passwordBits[unit] ?? isOther
    hash = hashOf(hash, unit)
    crosses = (unit | 0x20) === 0x78 ? crosses + 1 : 0
  }
  return bits === (isDigit | isOther) && crosses < 3 && !dummies.has(hash)
}

/** The password of `scheme://user:password@host`, of which `start` to `end` is what stands before the `@`. */
export const passwordIn = (text: string, start: number, end: number): Secret | undefined => {
  let colon = start
  while (colon < end && text.charCodeAt(colon) !== 0x3a) colon++
  if (colon === end || !isPassword(text, colon + 1, end)) return undefined
  const isUser = end - colon - 1 === colon - start && text.startsWith(text.slice(start, colon), colon + 1)
  return isUser ? undefined : secret("urlPassword", colon + 1, end)
}

/** The shortest word that can be a credential or name one. */
export const minSecret = 15

/** The patterns that are run on texts. */
export const patterns: ReadonlyArray<RegExp> = [awsNames, awsValue, bot, hook, keyHead, keyTail, placeholder]
