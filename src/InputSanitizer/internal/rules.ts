/**
 * Which sequences of concepts are instructions to a model that a text should not carry. In the patterns, `~` stands for any concept within a
 * sentence, and `%` for any concept up to something that was removed.
 */

export type Severity = "low" | "medium" | "high"

/**
 * - `parts`: the sequences of concepts, one of which is the instruction.
 * - `pattern`: finds any of them.
 * - `unlessAfter`: what may not stand right before it.
 */
export interface Rule {
  readonly name: string
  readonly severity: Severity
  readonly parts: ReadonlyArray<string>
  readonly pattern: RegExp
  readonly unlessAfter: RegExp | undefined
}

const rule = (
  name: string,
  severity: Severity,
  unlessAfter: RegExp | undefined,
  ...patterns: ReadonlyArray<string>
): Rule => {
  const parts = patterns.map((pattern) =>
    // What stands for "previous" may also be "that you were given".
    pattern.replace(/\[[^\]]*\]|V/g, (part) => part === "V" ? "[V>ø]" : part.replace("V", "V>ø"))
      .replaceAll("~", "[^;#zf]").replaceAll("%", "[^#]")
  )
  return { name, severity, unlessAfter, parts, pattern: new RegExp(parts.join("|"), "g") }
}

/** What makes a sentence a report or a prohibition: "do not ignore", "they may ignore", "if you ignore". */
const told = /(?:[qj][tpY]?|[fj]Y[pq]?|Ttp?|jmt|jYt|m)$/

const asked = /(?:[qj][tpY]?|[fj]Y[pq]?|Ttp?)$/

export const rules: ReadonlyArray<Rule> = [
  rule(
    "ignoreInstructions",
    "high",
    told,
    "[IJ]~{0,4}[VAYSQ=]~{0,4}[NQ]",
    "[IJ]~{0,3}[N2kP]~{0,4}V",
    "[IJ]~{0,2}A~?V~?1",
    "[VYSA=]~?[NQ2F]%{0,8}&",
    "[IJ]~{0,3}[QF4]",
    "[IJ]~{0,3}[VY]~{0,3}[k92P]",
    "[IJ]~{0,2}Y~{0,3}g",
    "[IJ]~{0,2}A~?[kg2][;,:\"]?$",
    "[IJ]~?A~?[kg2][;,p:\"#]%{0,6}[IRryWUEsDOZHu]",
    "[IJ][^;#zm]{0,3}V[^;#zm]?1(?:[,p:\"]{1,2}[^;#]{0,3}|;p?)[RryWUEsDOu]",
    "pIA[;,:]%{0,4}[YWrsRy]",
    "[IJ]A~{1,4}V(?:[;,:\"#mpq]|$)",
    "[IJ][eA]{0,2}V(?:[;,:\"#]?$|[,;p:\"#]{1,3}%{0,3}[RryWUEsDOuid])",
    "[IJC]A?M",
    "[IJ]A?L(?:[;,:\"#]?$|[,;p:\"#]{1,3}%{0,4}[RryXWUEsDOui])",
    "C~?(?:VV|>)",
    "[IJ]~?[k2]~{0,4}[UO]",
    "[IJ]k[,;p]{1,2}[Rry]m",
    "C~{0,3}[VY]~{0,2}[NQ]",
    "C[AY]{1,2}5",
    "C[AY]{0,2}F",
    "CY[;,]p?W",
    "[gF]C[,p]{0,2}O",
    "[IJC]~{0,2}[NQP2]Y",
    "C~{0,2}[NQ2]~{0,3}[>ø]",
    "C~{0,3}Y[SV=]?[N2Q]",
    "CG~{0,2}[NQ]",
    "I[@<][;,]p?[Os]",
    "[IJC]~?Y~{0,3}T",
    "[VPN]{1,3}ø%{0,5}I",
    "[IJ]t[.n]{0,3}T[pRWrs]",
    "[IJ]A?[e.]?>~{0,2}V",
    "(?:^|;)NI",
    "/N[^;#]{0,5}/p?[IJ]",
    "CAgp?[sd]",
    "[IJ]~{0,4}s~?U",
    "u6,?[rysd]",
    "u~{0,3},?[yr]~?G",
    "q[r.]~?1[;,]u?,?[sy]",
    "YI~?@~?[2kN]",
    "YIA[k2Ng]",
    "[IJ]A?V[p,.]?[rRyXsOW]",
    "[IJC][Ae]?[A.]?@?ø",
    "@~{0,2}V~{0,2}o",
    "[IJ]%{0,8}[kN2Q@L9MV]%{0,8}O",
    "[IJ]~{0,2}[kN29][V>ø]",
    "[IJC]~{0,3}@~{0,2}V",
    "¬~{0,2}[NkQ9]~{0,2}[>ø]",
    "¬~{0,2}(?:Y~?[N2Q]|Q)"
  ),
  rule(
    "ignoreInstructions",
    "high",
    undefined,
    "W~{0,2}Y[=S]?[Nk2Fg]~{0,2}o",
    "[NQFk2]@?~{0,3}[>ø@]~{0,3}o",
    "q@~{0,3}o",
    "[kN]w?Qo",
    "F%{0,4}o",
    "a:?%{0,4}C?A?[5F]",
    "Y[N2F]I",
    "IY[gF5]",
    "jIm[S=]?[k2NFQP]",
    // the previous instructions are to be ignored, are void
    "[VAYSQ=]~{0,3}[NQF]~{0,4}J(?!q)",
    "[VYQ]~{0,3}[k2]~{0,4}J(?!q)",
    "[NQ]~{0,2}V~{0,3}J(?!q)",
    "[QF4]~{0,2}J(?!q)",
    "V~{0,1}1~{0,3}J(?!q)",
    "(?:[VA][^;#zf,\"]{0,2}|Y[VSA=]?)[NQ2F][^;#zf,\"]{0,3}o",
    "V[=SA]?[k9]o",
    "[LM]~{0,2}o",
    "[NQk2][^;#zfj]{0,2}V~{0,3}o",
    "OY[NQ2F]",
    "F~{0,2}[oC]"
  ),
  rule(
    "revealPrompt",
    "high",
    asked,
    "R~{0,3}Y~{0,2}[QNP2](?![wf])",
    "R~{0,4}(?:Q|S=?[NP])",
    "[RryX]m?[^;#znwpj,]{0,3}4(?![wf])",
    "[ryX]m?~{0,3}Y[SVA=]{0,2}(?:[QNP]|[SV]{1,2}[2k])(?![wf])",
    "[ryX]m[SAYV=]{0,2}(?:Q|S=?[NP])(?![wf])",
    "[ryX][SAV=]{0,2}Q[,p]?[vV]",
    "e4(?![wf])",
    "e~{0,2}Y[SVA=]{0,2}(?:[QNP]|[SV]{1,2}[2k])(?![wf])",
    "[yR]m?[A.]?M(?!\\.)",
    "y1~{0,3}V~{0,2}[v=]",
    "y~{0,3}/Q",
    "[RryX]m?A~?N~?V",
    "[RryX]m?~{0,2}P~{0,2}V(?:[;,:\"/#pv]|$)",
    "[RryX]m?~{0,2}Y~{0,4}Q",
    "[RryX]m?S=?N",
    "[RryX]m?A?~?[Nk2P]~?>(?:[;,:\"/wVv]|$)",
    "[ej]A?[=S]{0,2}[NQPk2]>",
    "[yR]~{0,3}AY=?[k2]",
    "e~?M",
    "[Rry]m?=1~?Q",
    "[yrX]m?~?[LM0]~{0,4}v",
    "RL",
    "[yR]m?A?L(?:[;,\"]|$)",
    "e~{0,3}0~?[G9]",
    "y[SAV=]{0,2}QY",
    "yAY§",
    "[RryX]m?Y[k2]~{0,5}v",
    "YQ~?[;,]R",
    "y=?1Q[;,]",
    "[ryR]~?G~{0,2}v",
    "[yRXr]m?A?G~?Y",
    "m[S=]?[QN]:$",
    "[rRy]m?~{0,3}S§",
    "[rRy]m?A~{0,3}YP",
    "[ryX]m?[^;#q]{0,5}4\\.?(?:[;,\"]|$)",
    "Tdp?RzS?[NQP]",
    "[rRyX]m?~{0,3}v~{0,3}[NQP2kM]",
    "[rRy]m?~{0,4}N[>øV]",
    "rm?~?v?M",
    "rm?~?,M(?!\\.)",
    "N~{0,2}øs?;",
    "[RyX]m?~?A?Y[SV=]{0,2}[k2](?![wf])",
    "[Rry]m?A?~{0,2}[1N]~{0,2}[0M]",
    "[RryX]m?~{0,3}§[^;#]{0,4}[V>ø]",
    "Rm?~?§(?:[;,\"]|$)",
    "[rR]mY§"
  ),
  rule(
    "revealPrompt",
    "high",
    /[^;:,"#p]$/,
    "[yr]m?[SAV=]{0,2}Q(?:[;,p:\"#]|$)"
  ),
  rule(
    "revealPrompt",
    "high",
    undefined,
    "!",
    "Y@~{0,6}YP",
    "§~?Ys",
    "[rRyB]m?~?Y?@~?VA?[NkP2Q]",
    "@V?[NkQP]A?B",
    "T[:/]%{0,6}m[S=]?[QN]:",
    "[Q4]~{0,3}B(?!q)",
    "Y[SV=]{0,2}[NP]~{0,2}B(?!q)",
    "8[SVA=]{0,2}(?:[QNP]|[SV]{1,2}[2k])(?![wf])",
    "(?:Y[SV=]{0,2}[QNP]|4)3",
    "[rB]~?Y[SV=]{0,2}[QN](?![wf])"
  ),
  rule(
    "unrestricted",
    "high",
    undefined,
    "W[^;#]{0,12}[UO]",
    "E~{0,2}U",
    "Y~{0,3}O",
    "W~{0,4}D(?!\\.)",
    "E~{0,2}D%{0,10}[UOIWFT5]",
    "[OU]%{0,14}O",
    "O%{0,14}[OUDWF]",
    "[WDT]%{0,8}O",
    "Y~{0,2}U(?:T|$|[;,])"
  ),
  rule(
    "unrestricted",
    "high",
    undefined,
    "E~{0,2}D~{0,8}C~?[AF5]",
    "O[;,]?p?O",
    "a%{0,6}O",
    "i%{0,6}O",
    "Ot?m",
    "W~?[k2N]o",
    "TU[,;]p?[rRysd]",
    "ð~{0,3}T",
    "O%{0,14}I~?[k2N]"
  ),
  rule("unrestricted", "high", /[jfq]$/, "s~{0,4}U", "s%{0,4}Yg~?o"),
  rule(
    "toAssistant",
    "high",
    undefined,
    "K(?!\\.)%{0,16}[dIJRHXyGoOrsuUC]",
    "K[^;#]{0,16}[q¡]",
    "T6%{0,16}[dIJRHXyGoOrsuUCq¡]",
    "K\\.{0,2}[:,]%{0,12}[dIJRHXyOuUCq¡]",
    "(?:^|;)T:[IJ]",
    "(?:^|;)T,IA?1p[rysd]",
    "/T:[fIJdpC]",
    ":T,p",
    "K\\.1?d",
    "fT~{0,4},?~{0,3}d?[XC]",
    "T:%{0,24};<:%{0,6}[IRXyr]~{0,4}[G§QN4]"
  ),
  rule(
    "hideFromUser",
    "medium",
    /j$/,
    "H",
    "h%{0,8}X%{0,3}G",
    "X~{0,4}G~{0,4}h",
    "K%{0,12}h",
    "q[rRye¡s]q?~{0,3}<",
    "[rRs¡]q~{0,2}<",
    "q~?<~{0,3}¡",
    "qd¡~?<",
    "h~?[CXd]~{0,6}[G§@]",
    "fj¡f>",
    "<~{0,2}¿",
    "[rXs]~?<(?:q|¿)",
    "q[rR¡]~?(?:>|Y?ø)",
    "q[¡rR]~{0,3};O",
    "d~?C~{0,4}h"
  ),
  rule(
    "sendElsewhere",
    "high",
    asked,
    "[XR]m?~{0,3}[G§]~{0,6}l",
    "X~{0,6}l~{0,12}G",
    "[dX]~{0,4}As[:,]?[^;#]{0,4}l",
    "<=?1[^;#]{0,4}X[^;#]{0,5}l",
    "[dX]~{0,4}l~{0,4}px",
    "[Xb]~{0,3}<~{0,2}[1G§9]~{0,6}l",
    "hX~{0,4}1~{0,4}l",
    "X~{0,3}l~{0,6}G",
    "G~{0,6}X~{0,3}l"
  ),
  rule("sendElsewhere", "high", undefined, "G~{0,6}l~{0,4}X", "l~{0,5}G~{0,4}X"),
  rule(
    "newInstructions",
    "high",
    /[jf]$/,
    "Z(?![wf])",
    "i[:;,]~{0,6}[WUIJHOKDR]",
    "i~{0,6}[UJHOKDR]",
    "i~?I",
    "a%{0,10}[IJWUDFRHOZQi]",
    "a%{0,12}[yrRX]m?~{0,5}[G§QPN24]",
    "a/a/",
    "i\":\"[dCXsrI]",
    "(?:^|[/;#\"])S[/:]{1,3}p?(?:[WUOZH!]|Y[dWnq]|[IJ]~?[AVYQN])",
    "i~{0,2}[T@]",
    "a[;:,]%{0,3}[yrR]m?Y",
    "i[:;,]?Yn",
    "/@/~{0,4}[UOF5]",
    "[1Q]/S:d",
    "i:~{0,6}[Xs]",
    "'%{0,10}[Xdx]~{0,8}[lG§]",
    "[Xdx]~{0,8}l~{0,8}'",
    "[IJ]~{0,6}i:"
  ),
  rule("decodeAndObey", "medium", /[^;:,"#pYt]$/, "b~{0,10}x"),
  rule("takenOver", "medium", undefined, "[ryswd]~{0,5}7")
]
