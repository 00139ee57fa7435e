/**
 * The production layer between an Effect application and the Claude API.
 *
 * @since 0.1.0
 */
export * as Attempt from "./Attempt.ts"
export * as Budget from "./Budget.ts"
export * as CallContext from "./CallContext.ts"
export * as CircuitBreaker from "./CircuitBreaker.ts"
export * as ClaudeApi from "./ClaudeApi.ts"
export * as ClaudeConfig from "./ClaudeConfig.ts"
export * as ClaudeError from "./ClaudeError.ts"
export * as ClaudeService from "./ClaudeService.ts"
export * as CostLedger from "./CostLedger.ts"
export * as CostOptimizer from "./CostOptimizer.ts"
export * as CostReport from "./CostReport.ts"
export * as Estimate from "./Estimate.ts"
export * as Health from "./Health.ts"
export * as InputSanitizer from "./InputSanitizer.ts"
export * as KeyPool from "./KeyPool.ts"
export * as KeyStore from "./KeyStore.ts"
export * as MessageStream from "./MessageStream.ts"
export * as Model from "./Model.ts"
export * as PriceBook from "./PriceBook.ts"
export * as RateLimiter from "./RateLimiter.ts"
export * as Reconciliation from "./Reconciliation.ts"
export * as Request from "./Request.ts"
export * as RetryPolicy from "./RetryPolicy.ts"
export * as Usage from "./Usage.ts"
