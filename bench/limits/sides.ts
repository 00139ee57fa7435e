/** Our side and the peers: each makes one call, waiting as it sees fit, and fails when it gives up. */
import Anthropic from "@anthropic-ai/sdk"
import Bottleneck from "bottleneck"
import { Context, Effect, Layer, ManagedRuntime, Redacted } from "effect"
import * as Persistence from "effect/persistence/RateLimiter"
import * as Attempt from "../../src/Attempt.ts"
import { CallContext } from "../../src/CallContext.ts"
import * as ClaudeApi from "../../src/ClaudeApi.ts"
import * as Estimate from "../../src/Estimate.ts"
import * as RateLimiter from "../../src/RateLimiter.ts"
import * as RetryPolicy from "../../src/RetryPolicy.ts"
import * as ClaudeTest from "../../src/testing/ClaudeTest.ts"
import * as Simulator from "../../src/testing/Simulator.ts"
import { maxTokens, meanOutput, minute, model, type Rates, request, type Sizes } from "./workload.ts"

export interface Options {
  readonly type: string
  readonly priority: CallContext["priority"]
  readonly user?: string | undefined
  readonly tenant?: string | undefined
}

export interface Side {
  readonly name: string
  readonly call: (sizes: Sizes, options: Options) => Promise<unknown>
  readonly close: () => Promise<void>
}

/** Where the API is, and how much faster than real time it runs. */
export interface Target {
  readonly baseUrl: string
  readonly fetch: typeof globalThis.fetch | undefined
  readonly compress: number
}

/** A side that says how many milliseconds a call waited for its turn. */
export interface Ours extends Side {
  /** Connects to what it needs. */
  readonly ready: () => Promise<unknown>
  readonly call: (sizes: Sizes, options: Options) => Promise<number>
}

/** `rates`: what our side knows; undefined where only the headers teach it. `store`: where its buckets are, by default here. */
export const ours = (
  target: Target,
  rates: Rates | undefined,
  store: Layer.Layer<RateLimiter.Store> = RateLimiter.layerStoreMemory,
  options: RateLimiter.Options = {}
): Ours => {
  const burst = minute / target.compress
  const runtime = ManagedRuntime.make(Layer.mergeAll(
    ClaudeApi.layer({ baseUrl: target.baseUrl, fetch: target.fetch }),
    RetryPolicy.layer(),
    RateLimiter.layerNoDeps({
      ...options,
      burst,
      limits: rates === undefined ? undefined : {
        requestsPerMinute: rates.requests * target.compress,
        inputTokensPerMinute: rates.input * target.compress,
        outputTokensPerMinute: rates.output * target.compress
      }
    }).pipe(Layer.provide(store))
  ))
  const key: Attempt.Key = { label: "bench", group: "bench", secret: Redacted.make(Simulator.apiKey) }
  const context = Context.get(Context.empty(), CallContext)
  const kinds = new Attempt.CallKinds()
  const learning = Attempt.learning(kinds)
  const call = Effect.fnUntraced(function*(sizes: Sizes, { priority, tenant, type, user }: Options) {
    const api = yield* ClaudeApi.ClaudeApi
    const retries = yield* RetryPolicy.RetryPolicy
    const limiter = yield* RateLimiter.RateLimiter
    const params = request(sizes)
    const estimate = Estimate.make(params)
    const asked = Date.now()
    let waited = 0
    yield* retries.retry(({ number }) => {
      const attempt = ClaudeTest.attempt({
        number,
        request: params,
        context: { ...context, priority, requestType: type, user, tenant },
        estimate,
        kind: kinds.of(model, type),
        key
      })
      const send = Effect.suspend(() => {
        waited = Date.now() - asked
        return api.send(attempt)
      })
      return Attempt.guard(Attempt.both(limiter, learning), attempt, send)
    })
    return waited
  })
  return {
    name: "effect-claude",
    ready: () => runtime.context(),
    call: (sizes, options) => runtime.runPromise(call(sizes, options)),
    close: () => runtime.dispose()
  }
}

const sdk = ({ baseUrl, fetch }: Target) =>
  new Anthropic({
    apiKey: Simulator.apiKey,
    baseURL: baseUrl,
    logLevel: "off",
    ...(fetch === undefined ? undefined : { fetch })
  })

const send = async (client: Anthropic, sizes: Sizes) => {
  await client.messages.create(request(sizes))
}

/** The SDK as it comes: two retries. */
export const bare = (target: Target): Side => {
  const client = sdk(target)
  return { name: "@anthropic-ai/sdk", call: (sizes) => send(client, sizes), close: async () => {} }
}

/** Three reservoirs that refill each minute. */
export const bottleneck = (target: Target, rates: Rates): Side => {
  const client = sdk(target)
  const reservoir = (amount: number) =>
    new Bottleneck({
      reservoir: amount,
      reservoirRefreshAmount: amount,
      reservoirRefreshInterval: minute / target.compress
    })
  const [requests, input, output] = [reservoir(rates.requests), reservoir(rates.input), reservoir(rates.output)]
  return {
    name: "bottleneck",
    call: (sizes) =>
      requests.schedule(() =>
        input.schedule(
          { weight: Math.min(rates.input, Estimate.make(request(sizes)).inputTokens) },
          () => output.schedule({ weight: meanOutput }, () => send(client, sizes))
        )
      ),
    close: async () => {
      await Promise.all([requests, input, output].map((one) => one.disconnect()))
    }
  }
}

/** A token bucket for each dimension, one after the other. */
export const persistence = (target: Target, rates: Rates): Side => {
  const client = sdk(target)
  const runtime = ManagedRuntime.make(
    Persistence.layer.pipe(Layer.provide(Persistence.layerStoreMemory))
  )
  const window = minute / target.compress
  const take = (limiter: Persistence.RateLimiter, key: string, limit: number, tokens: number) =>
    Persistence.sleep(limiter, { algorithm: "token-bucket", window, key, limit, tokens })
  const call = Effect.fnUntraced(function*(sizes: Sizes) {
    const limiter = yield* Persistence.RateLimiter
    yield* take(limiter, "requests", rates.requests, 1)
    yield* take(limiter, "input", rates.input, Estimate.make(request(sizes)).inputTokens)
    yield* take(limiter, "output", rates.output, meanOutput)
    yield* Effect.promise(() => send(client, sizes).catch(() => Promise.reject(new Error("refused"))))
  })
  return {
    name: "effect/persistence RateLimiter",
    call: (sizes) => runtime.runPromise(call(sizes)),
    close: () => runtime.dispose()
  }
}

/** Remembers what was reserved in the last minute and waits until the window has room. */
export const slidingWindow = (target: Target, rates: Rates): Side => {
  const client = sdk(target)
  const window = minute / target.compress
  const taken: Array<{ readonly at: number; readonly input: number }> = []
  let turn: Promise<unknown> = Promise.resolve()
  const admit = async (input: number) => {
    while (true) {
      const now = Date.now()
      while (taken[0] !== undefined && taken[0].at <= now - window) taken.shift()
      const used = taken.reduce((sum, one) => sum + one.input, 0)
      if (
        taken.length < rates.requests && used + input <= rates.input &&
        (taken.length + 1) * maxTokens <= rates.output
      ) break
      await new Promise((resolve) => setTimeout(resolve, taken[0]!.at + window - now))
    }
    taken.push({ at: Date.now(), input })
  }
  return {
    name: "sliding window of max_tokens",
    call: async (sizes) => {
      const admitted = turn.then(() => admit(Estimate.make(request(sizes)).inputTokens))
      turn = admitted.catch(() => {})
      await admitted
      await send(client, sizes)
    },
    close: async () => {}
  }
}
