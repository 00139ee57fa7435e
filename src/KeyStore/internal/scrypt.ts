/**
 * The passphrases of age, derived off the event loop: the package would block it for about a second. The stanza is
 * `scrypt <salt> <work factor>`, its body the key of the file under ChaCha20-Poly1305.
 */
import type { Identity, Recipient, Stanza } from "age-encryption"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"
import { createCipheriv, createDecipheriv, randomBytes, scrypt } from "node:crypto"

/** 2^20 takes a gigabyte. */
export const maxWorkFactor = 20

export const workFactorTooHigh = "scrypt work factor is too high"

const saltLength = 16
const tagLength = 16
const cipher = "chacha20-poly1305"
const label = "age-encryption.org/v1/scrypt"

/** Each file has a key of its own, so that its nonce can be zero. */
const nonce = Buffer.alloc(12)

const derive = (passphrase: Redacted.Redacted<string>, salt: Uint8Array, workFactor: number): Promise<Uint8Array> =>
  new Promise((resolve, reject) => {
    const N = 2 ** workFactor
    scrypt(
      Redacted.value(passphrase),
      Buffer.concat([Buffer.from(label), salt]),
      32,
      { N, r: 8, p: 1, maxmem: 2 * 128 * 8 * N },
      (error, key) => error === null ? resolve(key) : reject(error)
    )
  })

/** The key of the file; null where the passphrase is another one. */
const unwrap = (key: Uint8Array, body: Uint8Array): Uint8Array | null => {
  const decipher = createDecipheriv(cipher, key, nonce, { authTagLength: tagLength })
  decipher.setAuthTag(body.subarray(-tagLength))
  const fileKey = decipher.update(body.subarray(0, -tagLength))
  return Result.isSuccess(Result.try(() => decipher.final())) ? new Uint8Array(fileKey) : null
}

const refuse = (message: string): Promise<never> => Promise.reject(new Error(message))

export const scryptIdentity = (passphrase: Redacted.Redacted<string>): Identity => ({
  unwrapFileKey: (stanzas) => {
    const stanza = stanzas.find(({ args }) => args[0] === "scrypt")
    if (stanza === undefined) return null
    const [, salt = "", factor = "", ...more] = stanza.args
    const bytes = Buffer.from(salt, "base64")
    const isWhole = stanzas.length === 1 && more.length === 0 && bytes.length === saltLength &&
      stanza.body.length === 2 * tagLength && /^[1-9][0-9]?$/.test(factor)
    if (!isWhole) return refuse("invalid scrypt stanza")
    const workFactor = Number(factor)
    if (workFactor > maxWorkFactor) return refuse(workFactorTooHigh)
    return derive(passphrase, bytes, workFactor).then((key) => unwrap(key, stanza.body))
  }
})

export const scryptRecipient = (
  passphrase: Redacted.Redacted<string>,
  workFactor: number,
  make: new(args: Array<string>, body: Uint8Array) => Stanza
): Recipient => ({
  wrapFileKey: (fileKey) => {
    const salt = randomBytes(saltLength)
    return derive(passphrase, salt, workFactor).then((key) => {
      const encipher = createCipheriv(cipher, key, nonce, { authTagLength: tagLength })
      const body = Buffer.concat([encipher.update(fileKey), encipher.final(), encipher.getAuthTag()])
      const text = salt.toString("base64").replace(/=+$/, "")
      return [new make(["scrypt", text, String(workFactor)], new Uint8Array(body))]
    })
  }
})
