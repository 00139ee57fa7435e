/** A page in headless Chromium, with an empty profile and nothing that it could reach. */
import { Effect, type Scope } from "effect"
import { existsSync } from "node:fs"
import { type Browser, chromium, type Page } from "playwright-core"

const executablePath = "/usr/bin/chromium"

export const isInstalled = existsSync(executablePath)
if (!isInstalled && process.env["CI"] === "true") throw new Error("chromium is not installed")
if (!isInstalled) console.warn("skipped: chromium is not installed")

const args = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync"
]

export const launch: Effect.Effect<Browser, never, Scope.Scope> = Effect.acquireRelease(
  Effect.promise(() => chromium.launch({ executablePath, args })),
  (browser) => Effect.promise(() => browser.close())
)

/** What a page did that it should not do. */
export interface Faults {
  readonly complaints: Array<string>
  readonly outside: Array<string>
}

/** Opens an address. Requests to other origins are refused and written down. */
export const open = (
  browser: Browser,
  url: string,
  options: Parameters<Browser["newPage"]>[0] = {}
): Effect.Effect<Page & { readonly faults: Faults }> =>
  Effect.promise(async () => {
    const page = await browser.newPage({ viewport: { width: 1440, height: 900 }, ...options })
    const faults: Faults = { complaints: [], outside: [] }
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning") faults.complaints.push(message.text())
    })
    page.on("pageerror", (error) => faults.complaints.push(error.message))
    await page.route("**/*", (route) => {
      const asked = route.request().url()
      if (new URL(asked).origin === new URL(url).origin) return route.continue()
      faults.outside.push(asked)
      return route.abort()
    })
    await page.goto(url)
    return Object.assign(page, { faults })
  })
