/** The gateway, which also answers its parent how much processor time it has used. */
process.on("message", () => {
  const { system, user } = process.cpuUsage()
  process.send?.(system + user)
})
process.on("disconnect", () => process.exit())

// @ts-expect-error a program without declarations
await import("@portkey-ai/gateway/build/start-server.js")
