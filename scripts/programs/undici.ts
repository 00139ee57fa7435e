/** `undici` with the simulator in place of the API. */
import * as undici from "undici"

export class Agent extends undici.Agent {
  override dispatch(options: undici.Dispatcher.DispatchOptions, handler: undici.Dispatcher.DispatchHandler): boolean {
    if (options.origin !== "https://api.anthropic.com") return super.dispatch(options, handler)
    const headers = new Headers(options.headers as Headers) // the transport hands over what the SDK built
    headers.set("x-api-key", process.env["ANTHROPIC_API_KEY"]!) // the check sets both variables
    return super.dispatch({ ...options, headers, origin: process.env["SIMULATOR_URL"]! }, handler)
  }
}
