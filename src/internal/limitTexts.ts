/** The limits of the API in words, by `RateLimitError.limit`. */
export const limitTexts = {
  requests: "the limit of requests per minute",
  inputTokens: "the limit of input tokens per minute",
  outputTokens: "the limit of output tokens per minute",
  acceleration: "the limit on how fast traffic may grow",
  spend: "a spend limit",
  unknown: "a rate limit"
} as const
