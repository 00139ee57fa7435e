/** Follows `/status`, and asks for the token where the server wants one. */
import type { Update } from "../src/Http.ts"

export type Link = "connecting" | "live" | "lost" | "token"

const base = location.pathname.replace(/\/+$/, "")

const tokenName = "effect-claude token"

/** A token may come with the address, after `#token=`, which is sent to nobody; it leaves the address at once. */
const [, given] = /^#token=(.+)$/.exec(location.hash) ?? []
if (given !== undefined) {
  sessionStorage.setItem(tokenName, decodeURIComponent(given))
  history.replaceState(null, "", location.pathname)
}

const sleep = (millis: number) => new Promise<void>((resolve) => setTimeout(resolve, millis))

/** Reads events until the connection ends. Data of one event is one line. */
const read = async (body: ReadableStream<Uint8Array>, onUpdate: (update: Update) => void): Promise<void> => {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader()
  let buffered = ""
  while (true) {
    const { done, value } = await reader.read()
    if (done) return
    const events = (buffered + value).split("\n\n")
    buffered = events.pop() ?? ""
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1]
      if (data !== undefined) onUpdate(JSON.parse(data))
    }
  }
}

/** The time without any update after which a connection counts as lost. */
const patienceMillis = 10_000

export const follow = (
  onLink: (link: Link) => void,
  onUpdate: (update: Update, isFirst: boolean) => void
): { readonly useToken: (token: string) => void } => {
  let wake: (() => void) | undefined
  let tokens = 0
  const once = async (): Promise<Link> => {
    const token = sessionStorage.getItem(tokenName)
    const control = new AbortController()
    const lose = () => control.abort()
    let timer = setTimeout(lose, patienceMillis)
    try {
      const response = await fetch(`${base}/status`, {
        headers: token === null ? {} : { authorization: `Bearer ${token}` },
        signal: control.signal
      })
      if (response.status === 401) return "token"
      if (!response.ok || response.body === null) return "lost"
      let isFirst = true
      await read(response.body, (update) => {
        clearTimeout(timer)
        timer = setTimeout(lose, patienceMillis)
        onLink("live")
        onUpdate(update, isFirst)
        isFirst = false
      })
      return "lost"
    } catch {
      return "lost"
    } finally {
      clearTimeout(timer)
    }
  }
  const forever = async () => {
    onLink("connecting")
    while (true) {
      const before = tokens
      const link = await once()
      onLink(link)
      if (link === "token") {
        if (tokens !== before) continue // another was given meanwhile
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      } else await sleep(1_000)
    }
  }
  void forever()
  return {
    useToken: (token) => {
      sessionStorage.setItem(tokenName, token)
      tokens++
      wake?.()
    }
  }
}
