/** How the process ends. */
export const ExitCode = {
  ok: 0,
  failure: 1,
  usage: 2,
  keys: 3,
  limit: 4,
  api: 5,
  hungUp: 129,
  interrupted: 130,
  brokenPipe: 141,
  terminated: 143
} as const
