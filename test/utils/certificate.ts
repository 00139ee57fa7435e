/** A certificate for 127.0.0.1 and the authority that signed it. */
import { execFileSync, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"
import { join } from "node:path"

export const isInstalled = spawnSync("openssl", ["version"]).status === 0
if (!isInstalled && process.env["CI"] === "true") throw new Error("openssl is not installed")
if (!isInstalled) console.warn("skipped: openssl is not installed")

/** Both are one: it signs itself. */
export const make = (folder: string): { readonly key: string; readonly cert: string; readonly caFile: string } => {
  const [keyFile, caFile] = [join(folder, "key.pem"), join(folder, "ca.crt")]
  const subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
  const files = ["-keyout", keyFile, "-out", caFile]
  execFileSync("openssl", ["req", "-x509", ...curve, "-nodes", "-days", "2", ...subject, ...files], { stdio: "ignore" })
  return { key: readFileSync(keyFile, "utf8"), cert: readFileSync(caFile, "utf8"), caFile }
}
