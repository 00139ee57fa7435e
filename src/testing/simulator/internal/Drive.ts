/**
 * Sends the steps of an answer to a sink, at the pace of its reader.
 */
import type { Steps, Wait } from "./Step.ts"

/** Where the steps go: a `fetch` or an HTTP server. A method that returns `false` asks for a pause until `resume`. */
export interface Sink {
  readonly head: (status: number, headers: Record<string, string>, body: string | undefined) => boolean
  readonly data: (data: string | Uint8Array) => boolean
  /** Called before a wait: sends what was held back. `false` asks to go on only after `resume`. */
  readonly flush: () => boolean
  readonly end: () => void
  readonly reset: () => void
  readonly refuse: () => void
}

export interface Drive {
  /** The reader wants more. */
  readonly resume: () => void
  /** The reader went away. */
  readonly abort: () => void
}

export const drive = (steps: Steps, wait: Wait, sink: Sink): Drive => {
  let state: "idle" | "running" | "waiting" | "done" = "idle"
  let again = false
  /** The reader keeps up with what was written before the wait. */
  let room = true
  let cancel: (() => void) | undefined

  const finish = (how: () => void) => {
    state = "done"
    how()
  }

  const step = (): boolean => {
    const next = steps.next()
    switch (next._tag) {
      case "Head": {
        const more = sink.head(next.status, next.headers, next.body)
        if (next.body !== undefined) state = "done"
        return more
      }
      case "Data":
        return sink.data(next.data)
      case "Wait": {
        room = sink.flush()
        state = "waiting"
        if (!Number.isFinite(next.millis)) return false
        cancel = wait(next.millis, () => {
          cancel = undefined
          state = "idle"
          if (room) resume()
        })
        return false
      }
      case "End":
        finish(sink.end)
        return false
      case "Reset":
        finish(sink.reset)
        return false
      case "Refuse":
        finish(sink.refuse)
        return false
    }
  }

  const resume = () => {
    if (state === "running") again = true
    if (state === "waiting") room = true
    if (state !== "idle") return
    state = "running"
    again = false
    while (state === "running") {
      const more: boolean = step()
      if (!more && !again && state === "running") state = "idle"
      again = false
    }
  }

  return {
    resume,
    abort: () => {
      if (state === "done") return
      state = "done"
      cancel?.()
      steps.abort()
    }
  }
}
