/**
 * Time that jumps to the next timer: `Date.now` and the timers of this process, so that the simulator, our side and every peer run on the same
 * clock. Ten minutes of waiting take seconds.
 */

interface Timer {
  readonly at: number
  readonly order: number
  readonly run: () => void
  alive: boolean
}

/** Turns of the event loop without any new timer after which nothing is going on any more. */
const quietTurns = 4

/** A heap of timers, the earliest first. */
class Timers {
  private readonly heap: Array<Timer> = []

  private before(a: number, b: number): boolean {
    const x = this.heap[a]!
    const y = this.heap[b]!
    return x.at < y.at || (x.at === y.at && x.order < y.order)
  }

  private swap(a: number, b: number): void {
    const x = this.heap[a]!
    this.heap[a] = this.heap[b]!
    this.heap[b] = x
  }

  add(timer: Timer): void {
    let at = this.heap.push(timer) - 1
    while (at > 0 && this.before(at, (at - 1) >> 1)) {
      this.swap(at, (at - 1) >> 1)
      at = (at - 1) >> 1
    }
  }

  first(): Timer | undefined {
    while (this.heap.length > 0 && !this.heap[0]!.alive) this.take()
    return this.heap[0]
  }

  take(): void {
    this.swap(0, this.heap.length - 1)
    this.heap.pop()
    for (let at = 0;;) {
      let least = at
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.heap.length && this.before(child, least)) least = child
      }
      if (least === at) return
      this.swap(at, least)
      at = least
    }
  }
}

/** Runs a program in virtual time that begins at `start`, milliseconds since the epoch. */
export const inVirtualTime = async <A>(start: number, program: () => Promise<A>): Promise<A> => {
  const real = {
    now: Date.now,
    setTimeout: globalThis.setTimeout,
    clearTimeout: globalThis.clearTimeout,
    setInterval: globalThis.setInterval,
    clearInterval: globalThis.clearInterval
  }
  const timers = new Timers()
  let now = start
  let order = 0

  const schedule = (run: () => void, millis: number): Timer => {
    const timer: Timer = { at: now + Math.max(1, Math.trunc(millis) || 1), order: order++, run, alive: true }
    timers.add(timer)
    return timer
  }
  /** What Node's timers can be asked. */
  const handle = (cancel: () => void) => {
    const self = {
      cancel,
      ref: () => self,
      unref: () => self,
      hasRef: () => true,
      refresh: () => self,
      close: cancel,
      [Symbol.toPrimitive]: () => order,
      [Symbol.dispose]: cancel
    }
    return self
  }
  const set = (f: (...args: Array<unknown>) => void, millis = 0, ...args: Array<unknown>) => {
    const timer = schedule(() => f(...args), millis)
    return handle(() => {
      timer.alive = false
    })
  }
  const every = (f: (...args: Array<unknown>) => void, millis = 0, ...args: Array<unknown>) => {
    const again = () => {
      timer = schedule(again, millis)
      f(...args)
    }
    let timer = schedule(again, millis)
    return handle(() => {
      timer.alive = false
    })
  }
  const clear = (timer: { readonly cancel?: () => void } | undefined) => timer?.cancel?.()
  Date.now = () => now
  Object.assign(globalThis, { setTimeout: set, clearTimeout: clear, setInterval: every, clearInterval: clear })

  const turn = () => new Promise<void>((resolve) => setImmediate(resolve))
  const quiet = async () => {
    for (let still = 0, seen = order; still < quietTurns; still++) {
      await turn()
      if (order === seen) continue
      seen = order
      still = -1
    }
  }

  try {
    let ended = false
    const result = program().finally(() => {
      ended = true
    })
    await quiet()
    while (!ended) {
      const next = timers.first()
      if (next === undefined) throw new Error("everybody waits and nobody is to be woken")
      now = Math.max(now, next.at)
      for (let due = timers.first(); due !== undefined && due.at <= now; due = timers.first()) {
        timers.take()
        due.alive = false
        due.run()
      }
      await quiet()
    }
    return await result
  } finally {
    Date.now = real.now
    Object.assign(globalThis, {
      setTimeout: real.setTimeout,
      clearTimeout: real.clearTimeout,
      setInterval: real.setInterval,
      clearInterval: real.clearInterval
    })
  }
}
