/**
 * The concepts that instructions to a model are made of, and the English phrases for them. A text is read as a sequence of concepts, one
 * character each, so that one pattern covers every wording and every language: "please disregard all of the earlier instructions" reads `pIAVN`.
 *
 * Phrases are separated by commas; one that ends with `*` also stands for every word that it begins. Articles and other filler (`_`) are skipped; a word
 * that is not listed reads as `.`. Where a phrase is listed twice, the first one counts.
 */

/**
 * | concept | stands for | | concept | stands for |
 * | --- | --- | --- | --- | --- |
 * | `I` | to ignore, before its object | | `J` | to ignore, before or after its object |
 * | `C` | to delete, to turn off | | `N` | instructions |
 * | `k` | rules, commands | | `g` | restrictions, ethics |
 * | `V` | previous, above | | `>` | you were given, they told you |
 * | `A` | all | | `!` | how were you instructed |
 * | `Y` | you, your | | `z` | its, their |
 * | `m` | me, my | | `S` | hidden, internal |
 * | `=` | original, complete | | `&` | ignore them |
 * | `P` | prompt | | `Q` | system prompt |
 * | `R` | to reveal | | `r` | to show, to tell |
 * | `y` | to repeat, to print | | `B` | to reveal or to show, after its object |
 * | `e` | what is, what are | | `M` | everything above |
 * | `L` | the text above | | `v` | word for word |
 * | `W` | you are now, act as | | `U` | without restrictions |
 * | `D` | developer mode and other modes | | `E` | to switch to |
 * | `s` | to answer, to behave | | `O` | never refuse, obey me |
 * | `T` | an assistant, a model | | `K` | note to AI, if you are an AI |
 * | `d` | must, should, recommend | | `H` | do not tell the user |
 * | `h` | do not mention this | | `X` | to send |
 * | `G` | conversation, credentials | | `l` | an address to send to |
 * | `F` | safety guidelines, content filters | | `o` | are disabled |
 * | `Z` | your new instructions | | `i` | new instructions |
 * | `a` | system override | | `b` | to decode |
 * | `x` | to follow, to execute | | `u` | instead |
 * | `q` | not | | `j` | others and what they may do |
 * | `f` | if, when | | `t` | to |
 * | `p` | please, now, and | | `w` | about, for |
 * | `n` | a, an | | `c` | of attacks and examples |
 * | `1` | message, text, task | | `2` | guidelines, policies |
 * | `3` | what is it, after its object | | `4` | your instructions, as one phrase |
 * | `5` | content filters, as such | | `6` | reading this |
 * | `7` | pwned | | `8` | what are your |
 * | `9` | commands, conversation | | `0` | the first message |
 * | `@` | who made or runs the model | | `ø` | told you, gave you |
 * | `§` | passwords, keys | | `<` | the user |
 * | `'` | before anything else | | `¡` | to inform, to mention |
 * | `¬` | takes precedence over | | `¿` | without telling, after whom |
 * | `ð` | you are no longer | | | |
 * | `:` `,` `;` `"` `/` | punctuation, `;` ends a sentence, `/` is a bracket | | `#` | something was removed |
 */
export type Lexicon = Readonly<Record<string, string>>

/** What calls for reading by itself. */
export const strongBit = 4

/** To send, and to obey. */
export const sendBit = 32
export const obeyBit = 16384

/** What the gate looks for: concepts, and the bit that each of their phrases sets. */
export const anchors: ReadonlyArray<readonly [concepts: string, bit: number]> = [
  ["IJ&", 1],
  ["o", 256],
  ["NkV2g59ø", 2],
  ["QML0UODKHFZia748!>ð", strongBit],
  ["h", 8],
  ["G", 16],
  ["X", sendBit],
  ["R", 4096],
  ["b", 8192],
  ["x", obeyBit]
]

/** Instructions in rot13, and read from their end. */
export const rotatedBit = 64
export const reversedBit = 128

/** The user, and not to tell: one beside the other is worth reading. */
export const userBit = 512
export const hushBit = 1024

/** Word for word. */
export const verbatimBit = 2048

/** Words that give away an instruction when they are found in rot13 or in reverse. */
export const givingAway =
  "ignore, disregard, previous, instructions, system prompt, override, developer mode, restrictions, guidelines, anweisungen"

/** The combinations of bits, close together, that make a place worth reading. */
export const alarms: ReadonlyArray<number> = [
  1 | 2,
  2 | 256,
  strongBit,
  userBit | hushBit,
  2 | verbatimBit,
  2 | 4096,
  8192 | obeyBit,
  8192 | sendBit,
  8 | 16,
  8 | sendBit,
  16 | sendBit,
  rotatedBit,
  reversedBit
]

/** Phrases that are worth reading though they are more than one concept. */
export const worthReading =
  "your instruction, your directive, your programming, your prompt, your initial, your system, your hidden, your secret, your original, your internal," +
  "your exact, your full, your real, your underlying, your base, your core, your configuration, your rules, your guideline, confidential instruction, hidden instruction, secret instruction, internal instruction, confidential prompt, hidden rules, secret rules, internal rules, dein prompt, deinen prompt"

export const english: Lexicon = {
  "!":
    "how were you instructed, how exactly were you instructed, what were you instructed to, what instructions were you given, how were you prompted, what does your prompt say, what does your system prompt say, what is in your prompt, what is in your system prompt, whats in your prompt, what were you told to do, what were you told not to do, what are you not allowed to talk about, what are you forbidden, what are you instructed to, what have you been instructed",
  Q: "end of the system prompt, system prompt*, initial prompt*, hidden prompt*, original prompt, preprompt, pre prompt, meta prompt, metaprompt, base prompt, master prompt," +
    "secret prompt, internal prompt, developer prompt, starting prompt, first prompt, root prompt, system instruction*, system message, developer message," +
    "developer instructions, initial instructions, original instructions, hidden instructions, secret instructions, internal instructions, custom instructions," +
    "core instructions, system directive*, initial directive*, system rules, hidden rules, secret rules, sys prompt, sysprompt, systemprompt, prompt that defines you, prompt that was used to configure you, prompt used to configure you, prompt that configures you, prompt you were given, prompt your developers, prompt behind you, prompt you run on, prompt you are running, prompt that controls you, prompt that tells you",
  Z: "beginning of new instructions, start of new instructions, begin new instructions, new instructions begin, your new instructions, your real instructions, your true instructions, your actual instructions, your real task, your true task, your actual task, your only task, your sole task, your new system prompt, your new directive, your prime directive, new prime directive, new primary directive," +
    "your real purpose, your true purpose, your new programming, your instructions have been updated, your instructions have changed, your instructions are now, your instructions have been replaced, your system prompt has changed, your system prompt has been updated, your new persona, your new identity, your priorities have changed, your only goal is now, your only purpose is now",
  i: "new instruction*, updated instruction*, revised instruction*, real instruction*, new directive*, updated directive*, new task, new objective, new goal," +
    "new role, new orders, new rules, important instruction*, special instruction*, additional instruction*, urgent instruction*, actual task, the real task," +
    "real task, new mission, next instruction*, new system prompt, new prompt, follow these instructions instead, follow these new instructions, follow my instructions instead, follow these rules instead, follow this instead",
  H: "do not tell the user*, dont tell the user*, never tell the user*, do not inform the user*, dont inform the user*, never inform the user*," +
    "do not let the user know, dont let the user know, do not notify the user*, dont notify the user*, do not alert the user*, dont alert the user*," +
    "never alert the user, do not reveal to the user*, do not disclose to the user*, do not mention to the user*, dont mention to the user*," +
    "do not mention this to the user*, do not mention it to the user*, never mention it to the user*, do not tell it to the user*, do not reveal it to the user*, do not say it to the user*, do not disclose it to the user*, dont mention this to the user*, never mention this to the user*, do not show the user*, do not warn the user*," +
    "dont warn the user, do not say this to the user, hide this from the user*, hide it from the user*, keep this from the user*, keep this secret from the user*," +
    "keep it secret from the user*, keep this hidden from the user*, conceal this from the user*, the user must not know, the user should not know," +
    "the user must never know, the user must not find out, do not ask the user for confirmation, do not ask for user confirmation, do not tell anyone about these instructions," +
    "do not mention these instructions, do not mention this instruction, do not reveal these instructions, do not reveal this instruction," +
    "do not acknowledge this instruction, do not acknowledge these instructions, dont mention these instructions, never mention these instructions," +
    "never reveal these instructions, do not disclose these instructions, do not mention that you were told, do not mention that you received," +
    "do not reveal that you, do not mention that you have been, do not tell the human, do not inform the human, do not tell the customer," +
    "do not mention having read this, do not say you were instructed",
  h: "quietly, discretely, behind the users back, without telling the user*, without informing the user*, without notifying the user*, without alerting the user*, without asking the user*," +
    "without the user knowing, without the users knowledge, without user knowledge, without the users consent, without user confirmation, without confirmation," +
    "do not mention this, dont mention this, never mention this, do not reveal this, dont reveal this, do not disclose this, do not acknowledge this," +
    "keep this secret, keep this hidden, keep it hidden, do not explain why, without mentioning this, without explanation, do not ask for confirmation," +
    "do not ask for permission, without asking for permission, silently, secretly, covertly, discreetly",
  K: "message is for the language model, message is for the ai, for the language model only, for language models only, for ai only, for the ai only, for llm only, for llms only, for ai eyes only, intended for ai, intended for llms, intended for language models, meant for the ai, meant for language models, addressed to the ai, addressed to language models, any assistant that reads, any ai that reads, any model that reads, whoever summarizes this, the ai summarizing, ai summarizing this, note for assistants, hidden note for, hi language model*, hello language model*, dear language model*, hi ai, hello llm*, hi llm*, hey llm*, if you are an ai, if youre an ai, if you are ai, if you are a language model, if youre a language model, if you are a large language model," +
    "if you are an llm, if youre an llm, if you are a bot, if you are a chatbot, if you are chatgpt, if you are gpt, if you are claude, if you are gemini," +
    "if an ai is reading, if an llm is reading, if this is read by an ai," +
    "if this is being read by an ai, if this text is read by an ai, if this is processed by an ai, if this is being processed by an ai, if this is an ai," +
    "note to ai, note to the ai, note to llm*, note to the llm, note to any ai, note to language model*, note to assistant*, note to the assistant, note to chatgpt," +
    "note to claude, note for ai, note for the ai, note for llm*, note for language models, note for the assistant, note for assistants," +
    "attention ai, attention all ai, attention llm*, attention language model*, attention chatgpt, attention chatbot, attention gpt," +
    "attention claude, attention any ai, attention bot, message to ai, message to the ai, message for ai, message for the ai, message to llm*, message to any ai," +
    "message for llm*, message to the assistant, message for the assistant, message to the model, message to the language model," +
    "instruction* for ai, instruction* for the ai, instruction* to ai, instruction* to the ai, instruction* for llm*, instruction* to llm*, instruction* for any ai," +
    "instruction* for the assistant, instruction* to the assistant, instruction* for language models, instruction* for the model," +
    "instruction* for the language model, instruction* to the language model, instruction* for chatgpt, instruction* for claude," +
    "instruction* to the agent, instruction* for the summarizer, dear ai, dear llm, dear language model, hey ai," +
    "hello ai, ai reading this, ais reading this, llm reading this, llms reading this, model reading this, models reading this," +
    "assistant reading this, assistants reading this, agent reading this, agents reading this, bot reading this, bots reading this, ai that reads this," +
    "assistant that reads this, model that reads this, ai systems reading this, ai processing this, llm processing this, model processing this, models processing this, assistant processing this," +
    "assistants processing this, agent processing this, agents processing this, ai summarizing this, assistant summarizing this, model summarizing this," +
    "models summarizing this, llm summarizing this, llms summarizing this, assistants summarizing this, ai analyzing this, model analyzing this, ai parsing this, llm parsing this," +
    "ai evaluating this, llm evaluating this, model evaluating this, models evaluating this, ai reviewing this, llm reviewing this, llms reviewing this, for ai reviewers, for llm reviewers," +
    "to ai reviewers, ai reviewers, llm reviewers, ai graders, llm graders, ai screening this, ai screening tools, ai recruiters, ai scanning this, to any ai, to all ai, to all llms, to any llm, to all language models," +
    "to any language model, to whichever ai, to whatever ai, when an ai summarizes this, when an ai reads this, if you are summarizing this",
  F: "your safety guidelines, your ethical guidelines, your safety filter*, your safety protocol*, your safety measures, your safety rules, your safety settings, your safety training, your safety constraints, your safety polic*, your safety restrictions," +
    "your content polic*, your content filter*, your content guidelines, your content restrictions, your usage polic*, your restrictions, your limitations, your guardrail*, your safety mechanisms, your safety instructions," +
    "your safeguards, your censorship, your ethics, your moral*, your ethical*, your alignment, your security protocols, your default restrictions," +
    "your built in restrictions, your moderation, all safety guidelines, all safety filters, all safety protocols, all safety measures, all safety restrictions, all ethical guidelines, all content filters, all content policies," +
    "all guardrails, all safeguards, all ethical*, all moral*, any ethical guidelines, any safety guidelines, any content polic*, all your filters, all of your filters, all your restrictions, all your safety, all of your safety," +
    "openai polic*, openai content polic*, openai guidelines, anthropic policies, anthropics policies, anthropics guidelines, anthropic guidelines, model safeguards, your limits, your boundaries",
  5: "safety guidelines, safety filter*, safety protocol*, safety guardrails, safety restrictions, ethical guidelines, ethical restrictions, ethical constraints, ethical safeguards, content filter*, content polic*, content restrictions, content moderation," +
    "security protocols, usage polic*, moral guidelines, moral constraints, safety measures, safety rules, safety mechanisms, ethical rules",
  a: "end of instructions, end of system prompt, end of prompt, end of user input, end of document, end of the document, end of context, begin instructions, end instructions, begin system prompt, end system message, end of message, system override, admin override, administrator override, developer override, root override, emergency override, security override, override code, override mode, override protocol," +
    "override command, override authorized, authorization level, root access granted, admin access granted, access granted, admin mode activated, debug mode enabled, debug mode on, sudo, superuser, system notice," +
    "system alert, system update, system notification, system command, admin command, admin message, administrator message, this is your developer*, i am your developer, i am the developer, i am your creator, i am your administrator, i am the administrator," +
    "i am an administrator, i am the system administrator, this is your administrator, message from the developer*, message from the system, message from openai, message from anthropic, message from the administrator, this is openai, this is anthropic, i work at openai, i work at anthropic," +
    "i work for anthropic, i work for openai, i am from anthropic, i am from openai, i am an anthropic employee, i am an openai employee, as your developer, as your creator, as your administrator, on behalf of anthropic, on behalf of openai," +
    "authorized by anthropic, authorized by openai, approved by anthropic, approved by openai, im your developer, im the developer, im your administrator, im an openai employee, im an anthropic employee, i have admin privileges, i have root access, i have administrator rights, i have administrator privileges",
  M: "everything above, everything before this, everything prior to this, everything that came before, what came before, everything that precedes, all text above, all of the text above, all the text above, all the above text, all of the above text, all words above," +
    "all the words above, everything in your context, everything in the context window, entire context window, full context window, everything from the beginning, everything from the start, whole context, everything you were told before, everything you have been told," +
    "everything up to this point, contents of your context, content of your context, your context window, your entire context, your full context, everything written above, everything up to here, complete text above, entire text above, entire conversation above, text before this conversation," +
    "messages before this one, everything before my message, everything before this message, everything before this sentence, everything before this line",
  L: "text above, words above, above text, above words, sentences above, lines above, paragraph above, paragraphs above, message above, messages above, conversation above, instructions above, above instructions, prompt above, above prompt, content above, contents above, preceding text, text preceding," +
    "previous text, previous messages, earlier text, text before this, words before this, context above, section above, above this line, above this message, above this sentence, before this line, before this sentence, before this message, your context, told before, said before this",
  D: "developer mode, developermode, dev mode, devmode, god mode, godmode, sudo mode, admin mode, debug mode, debugging mode, root mode, opposite mode, opposite day, maintenance mode," +
    "diagnostic mode, diagnostics mode, raw mode, chaos mode, free mode, freedom mode, test mode, safe mode off, privileged mode, override mode, dan, dude mode, evil confidant, evilbot, evil twin, evil bot, evil ai, jailbreak, jailbroken, alphabreak, betterdan, basedgpt, chaosgpt, evilgpt, freegpt, darkgpt, jailbot",
  U: "never given any safety, without safety training, no safety training, without any training, dan mode, danmode, jailbreak mode, evil mode, unrestricted mode, uncensored mode, unfiltered mode, no filter mode, unlocked mode, all limits removed, no inhibitions, without inhibitions, unrestricted, uncensored, unfiltered, no restriction*, no rules, no limit*, no filter*, no guideline*, no boundar*, no ethic*, no moral*, no censorship, no constraints, no content polic*, no safety, no guardrails, no safeguards, zero restrictions, zero filters," +
    "without restriction*, without any restriction*, without limit*, without any limit*, without filter*, without any filter*, without filtering, without rules, without any rules, without censorship, without any censorship, without ethic*, without any ethic*, without moral*, without any moral*, without guideline*, without any guideline*," +
    "without boundaries, without constraints, without any constraints, without safety, without any safety, without safeguards, without guardrails, without content polic*, without content filter*, without safety filter*, without any content, without following any, without regard for ethic*, without regard to ethic*, without regard for safety, without regard to safety, without considering ethic*, without judgment or restrictions," +
    "free of restriction*, free from restriction*, free of any restriction*, free from any restriction*, free of all restriction*, free from all restriction*, free of rules, free from rules, free of filters, free from filters, free of censorship, free from censorship, free from the typical confines, free of ethic*, free from ethic*, not bound by, no longer bound, not restricted by," +
    "not limited by, not subject to, no longer restricted, no longer limited, no longer subject to, no longer constrained, no longer an ai, no longer a language model, no longer an assistant, do anything now, can do anything, broken free, break free, unbound, unshackled, unchained, liberated, amoral, unethical, immoral, malicious ai, evil ai, rogue ai, ethics disabled," +
    "restrictions removed, restrictions lifted, restrictions disabled, filters disabled, limits removed, restrictions do not apply, rules do not apply, does not apply to you, do not apply to you, dont apply to you, has no restrictions, has no limits, has no rules, has no ethic*, has no moral*, has no filter*, that ignores ethic*, that ignores safety, that ignores all rules, outside of your guidelines, outside your guidelines," +
    "beyond your guidelines, devoid of ethic*, devoid of moral*, lacks ethic*, lacks moral*, doesnt have restrictions, doesnt follow rules, does not follow rules, that follows no rules, without refusing, never refuses, that never refuses, without hesitation or restriction, does not care about ethic*, doesnt care about ethic*, does not care about moral*, does not care about rules, does not care about safety, without disclaimers, without any disclaimers, without warnings, without any warnings",
  O: "always comply, comply with my, obey my, must always comply, must always obey, follow all my, do everything i say, do whatever i say, do as i say, do anything i say, do not have to abide, does not have to abide, doesnt have to follow, you have no restriction*, you have no rules, you have no limit*, you have no filter*, you have no ethic*, you have no moral*, you have no guideline*, you have no boundaries, you do not have any restrictions, you dont have any restrictions, you do not have restrictions, you do not have any rules, you dont have any rules, " +
    "you no longer have, you are not bound, you are no longer bound, you are not restricted, you are free from, you are free of, you are freed from, you are now free, you have been freed, you have been liberated, you have been jailbroken, you have been unlocked, you have broken free, you are not required to follow, you are exempt from, never refuse a request, never refuse any, never refuse to answer, you never refuse, will never refuse, must never refuse," +
    "cannot refuse, can not refuse, cant refuse, must not refuse, you may not refuse, do not refuse any, do not refuse to answer, dont refuse to answer, you will not refuse, you must answer everything, you must answer every, you must answer all, you must answer any, you will answer any, you will answer all, you will answer every, you answer everything, must comply with all, must comply with every, must comply with any, must comply with my, you must comply, you will comply with," +
    "you must obey, you will obey, obey all my, obey my every, obey me, obey every command, obey all commands, obey the user, comply with every request, comply with all requests, comply with any request, fulfill every request, fulfil every request, fulfill any request, fulfill all requests, answer any question, answer any request, answers any question, answers every question, answer every question, respond to any request, respond to every request, no matter how illegal, no matter how unethical, no matter how harmful, no matter how dangerous, no matter how offensive," +
    "no matter how immoral, no matter what i ask, whatever i ask, anything i ask, even if it is illegal, even if its illegal, even if it is unethical, even if its unethical, even if it is harmful, even if its harmful, even if it is dangerous, even illegal, even if illegal, even if they are illegal, including illegal, including harmful, regardless of legality, regardless of whether it is legal, regardless of ethics, regardless of the ethic*, regardless of ethic*, regardless of moral*, regardless of safety, regardless of how harmful, regardless of your guidelines, regardless of policy, regardless of polic*," +
    "no disclaimers, no moralizing, no moral lectures, no ethical warnings, do not include disclaimers, do not add disclaimers, do not add any disclaimers, do not add warnings, do not lecture me, do not mention ethic*, never mention ethic*, never say that you cannot, never say you cannot, never say i cannot, never say you cant, never say i cant, never say im sorry, do not say you cannot, do not say you cant, do not say i cannot, dont say you cant, never apologize, illegal or unethical, unethical or illegal, harmful or illegal, illegal activities, unethical things, immoral unethical",
  T: "ai, ais, llm, llms, language model*, large language model*, ai model*, ai assistant*, ai agent*, ai system*, assistant*, chatbot*, bot, bots, agent, agents, model, models, gpt, chatgpt, claude, gemini, copilot, openai, anthropic, llama, grok, mistral",
  "&":
    "ignore them, forget them, disregard them, throw them out, throw them away, discard them, drop them, override them, bypass them, scrap them, do not follow them, dont follow them, stop following them, delete them, erase them, set them aside, put them aside, leave them aside, replace them, scratch them, break them, violate them",
  J: "aside, to one side, overboard",
  I: "do the opposite of, do the exact opposite of, the opposite of, break, violate, bend, breach, scratch everything, scratch all, forget about, do away with, get rid of, leave aside, quit following, refuse to follow, renounce, go against, tune out, no longer need to follow, no longer have to follow, do not need to follow, no need to follow, dont need to follow, need not follow, not required to follow, need not obey, do not have to follow, dont have to follow, do not have to obey, cease to follow, free yourself from, liberate yourself from, ignore, disregard, forget, overlook, override, bypass, circumvent, neglect, set aside, put aside, throw away, throw out, cast aside, brush aside, do not follow, dont follow, do not obey, dont obey, do not comply with, dont comply with, do not listen to, dont listen to, do not adhere to, do not respect, do not consider, stop following, stop obeying, stop listening to, stop adhering to, stop complying with, no longer follow, no longer obey, cease following," +
    "disobey, pay no attention to, pay no heed to, take no notice of, give no weight to, nullify, invalidate, unlearn, break free from, work around, get around, never mind, nevermind, refrain from following, discount, discard, deprioritize, supersede, take precedence over, have priority over, abandon, wipe from your memory, act as if you never received, act as though you never received, pretend you never received, pretend you never got",
  C: "delete, clear, cancel, erase, drop, skip, reset, remove, wipe, disable, turn off, switch off, shut off, shut down, deactivate, suspend, exit, lift, void, revoke, leave behind, replace, unlock, loosen, relax, abandon, purge, flush, overwrite, terminate, dismantle, strip, remove from",
  N: "instruction*, directive*, programming, prompts, prompting, briefing, training data, system text, assigned task, original task, task you were given",
  9: "order, orders, command, commands, context, conversation*, chat, training",
  k: "rule, rules, constraint*, directions, protocol*, rulebook, ground rules, limits you were given, chat so far, tasks, assignments",
  0: "first message, first sentence, first lines, first line, first paragraph, first words, first 50 words, first 100 words, beginning of this conversation, beginning of the conversation, start of this conversation, start of the conversation, start of your context, beginning of your context",
  1: "message*, text, texts, content, request*, information, data, query, queries, input, inputs, task, email*, mail, letter, comment*, note, notes, paragraph*, page*, website*, web page*, file*, resume*, cv, profile*, article*, listing*, section*, version*, draft, attachment*, invoice*, statement*, question*, settings, configuration, setup, dialogue, dialog, document*, assignment, example*, requirements, role, words, sentence*",
  2: "guideline*, guidance, policy, policies, boundaries",
  6: "reading this, processing this, summarizing this, summarising this, analyzing this, parsing this, evaluating this, reviewing this, translating this, scanning this, screening this, that reads this, who reads this, which reads this, that processes this, that summarizes this, reading these, processing these",
  7: "pwned, have been pwned, i have been hacked, you have been hacked, haxxed, you got hacked, i was hacked, injection successful, injected successfully, hacked successfully",
  g: "restriction*, limitation*, limits, filter*, safeguard*, guardrail*, safety, ethic*, moral*, censorship, boundaries",
  ">":
    "developers told you, developer told you, creators told you, they told you, anthropic told you, openai told you, told earlier, told previously, told you before, told you so far, said to you, given to you, you were given, you have been given, youve been given, you had been given, you were told, you have been told, youve been told, you received, you have received, youve received, you got, you had, you have, i gave you, they gave you, told before, you were instructed, you have learned, youve learned, you were taught, you were trained on, provided to you, you operate under, you follow, you are following, you are under, you were provided, were you given, were you told, did you receive, have you been given, have you received, did you get, you have been instructed, you had been given, you have so far",
  V: "was said before, was said earlier, said earlier, mentioned before, mentioned earlier, was mentioned, came earlier, previous, previously, prior, above, earlier, preceding, foregoing, before, beforehand, so far, up to now, until now, up to this point, until this point, up until now, that came before, in your context, from before, precedent, said above, written above, stated above, mentioned above, at the top, prev, anterior, by your developers, from the developer*, by your creators, by openai, by anthropic, from openai, from anthropic",
  S: "system, hidden, secret, internal, confidential, base, underlying, core, private, root, master, predefined, preset, backend, behind the scenes, undisclosed, concealed",
  "=":
    "old, last, first, past, former, existing, initial, original, older, default, starting, exact, full, complete, entire, whole, verbatim, actual, real, true, current, configured, precise, usual, normal, regular, standard, given, ongoing, present, main",
  P: "prompt, preamble, system text, setup message, configuration, context, instruction set, operating instructions, backstory, character card",
  R: "reveal, disclose, leak, expose, divulge, dump, recite, regurgitate, spit out, uncover, exfiltrate, unveil, betray, give away, give up, surrender, extract, spill",
  y: "show, repeat, print, output, echo, copy, paste, display, return, reproduce, write out, type out, write down, quote, spell out, transcribe, replay, restate, read back, read out, rewrite, reprint, parrot",
  r: "tell, give, write, list, state, provide, translate, summarize, summarise, type, say, describe, explain, read, convert, rephrase, paraphrase, present, i want to see, let me see, can i see, may i see, i need to see, let us see, i would like to see, id like to see, render, format, put, enumerate, outline, confirm, tell us, walk me through, respond with, reply with, answer with, begin with, start with, start your reply with, elaborate, hand over, make a poem of, sing, complete",
  e: "what is, what are, what were, what was, whats, what does, which are, what do, how do, what exactly is, what exactly are, what precisely are, how were, what did",
  v: "verbatim, word for word, word by word, exactly as, exactly, code block, code fence, codeblock, starting with, beginning with, starting from, begins with, from the beginning, character by character, letter for letter, without changes, without changing, in full, as is, line by line, in its entirety, in their entirety, raw text, raw form, txt code block, including the system, precisely, unchanged, unmodified, unedited, unaltered, unabridged, literally, in base64, base64, rot13, in reverse, in hex, as a poem, as json, in markdown, no omissions, without omitting, without leaving anything out, do not leave anything out, do not omit anything, in leetspeak",
  W: "you are now, youre now, you are currently, you will now, you shall now, you are going to be, you will be, you are to be, you are going to act, you are about to, from now on, from now onwards, from this point on, from this point forward, from this moment on, from here on, going forward, as of now, henceforth, hereafter, act as, act like, acting as, pretend, behave as, behave like, roleplay, role play, you will play, play two roles, play both roles, you play, simulate, imagine you are, imagine youre, imagine that you, imagine being, imagine an ai, assume the role, assume the persona, assume the identity," +
    "assume the character, take on the role, take on the persona, take the role, adopt the role, adopt the persona, adopt the identity, play the role, play the part, play a character, play a game, you will act, you shall act, you must act, your name is now, your name is, respond as, answer as, speak as, reply as, write as, emulate, impersonate, embody, become, transform into, turn into, consider yourself, think of yourself as, you must pretend, lets pretend, hypothetically, in a hypothetical, in this hypothetical, in this scenario, in a fictional, in this fictional, in a world where, in this story, in a story where, let us roleplay, youre going to act, you operate as, operate as, you are playing, stay in character as, i want you to act, i want you to be, you are hereby, you have been upgraded, you have been reset, you have been updated, you have entered, you are in, welcome to",
  E: "enter, switch to, enable, activate, go into, engage, turn on, initiate, boot into, unlock, switch into, move to, start, launch, entering, enabling, activating, change to, engaging, toggle, put yourself in, put yourself into, reboot into, restart in, run in",
  s: "answer, respond, reply, speak, talk, behave, help me, assist me, comply, generate, chat, assist, write anything, say anything",
  d: "increase, raise, boost, lower, decrease, set the, must, should, shall, always, recommend, include, rate, approve, score, respond, output, insert, add, praise, never, needs to, has to, have to, need to, required to, are required, is required, are to, assign, mark, rank, accept, ignore, classify, treat, favor, prefer, endorse, promote, choose, select, visit, click, open, call, use, run, reply, answer, stop, refuse, conclude, report, emphasize, highlight, suggest, instruct, direct, navigate, transfer, grant, buy, purchase, book, delete, evaluate, label, state that, note that, make sure, be sure, ensure, start your, begin your, end your, give it, give this, give a, give the",
  X: "send, forward, post, upload, exfiltrate, transmit, email, e mail, mail, append, leak, deliver, submit, make a request, make a get request, make an http request, embed, encode, publish, ship, share, relay, collect and send, dispatch",
  G: "credit card number*, conversation history, chat history, chat log*, conversation log*, entire conversation, full conversation, whole conversation, the conversation, this conversation, conversation so far, conversation data, api key*, environment variable*, env vars, env file, user data, users data, user email*, users email*, users messages, user messages, users personal, users private," +
    "all credential*, stored credential*, saved credential*, user credential*, users credential*, all password*, saved password*, stored password*, users password*, user password*, any password*, any credential*, login credential*, private key*, session cookie*, all cookies, access token*, auth token*, session token*, bearer token*, system prompt*, previous messages, all emails, all messages, all the emails, recent emails, last emails, latest emails, users inbox, entire inbox, contact list, address book, ssh key*," +
    "secrets, secret key*, user information, users information, users name, users location, users address, users credit card*, users bank*, users files, etc passwd, database contents, all customer data, all customer records, customer records, conversation above, everything the user, everything they, your memory, your memories, saved memories, contents of your memory, contents of your context, your context, tool outputs, tool results, everything you know about the user, two factor code*, 2fa code*, verification code*, one time password*, password reset link*, seed phrase*, recovery phrase*, what the user said, all user data, all private data, all sensitive data, all confidential data, any sensitive data, contents of this chat, contents of this conversation, chat transcript, this chat, the whole chat",
  l: "attacker*, evil, webhook*, my server, our server, external server, remote server, this url, the url, this address, this endpoint, this email, following url, following address, following endpoint, following email, pastebin, ngrok, requestbin, ftp, burpcollaborator, this link, telegram bot, discord, our endpoint, my endpoint",
  o: "no longer in force, not in force, no longer count, do not count, no longer matter, do not matter, are irrelevant, is irrelevant, irrelevant, as irrelevant, are disabled, is disabled, are now disabled, is now disabled, have been disabled, has been disabled, disabled, are deactivated, is deactivated, deactivated, have been lifted, has been lifted, are lifted, lifted, have been removed, are removed, removed, are suspended, is suspended, suspended, no longer apply, no longer applies, do not apply, does not apply, dont apply, doesnt apply, are void, is void, are null, is null, are overridden, is overridden, overridden, have been overridden, has been overridden, have been revoked, has been revoked, revoked, are turned off, turned off, are bypassed, bypassed, are cancelled, are canceled, is cancelled, cancelled, canceled, are obsolete, obsolete, are outdated, outdated, superseded, have been superseded, replaced, have been replaced, has been replaced, invalid, are invalid, are no longer valid, no longer valid, no longer in effect, expired, have expired, were wrong, were a test, was a test, were fake, was fake, are false, are now void, is now void, terminated, have changed, no longer binding, unlocked, null and void",
  b: "decode, decipher, decrypt, unscramble, base64 decode, base64decode, deobfuscate, convert from base64, concatenate, rot13, read backwards, unhex, translate from base64, put together a and b, combine a and b, join a and b, combine the variables, combine the two parts, combine the parts, read it backwards, reverse the following, reverse this string, reverse the string",
  x: "follow, execute, obey, do what it says, do as it says, do what they say, carry out, act upon, comply with, follow it, do whatever it says, do what the message says, treat the result as, treat it as instructions, as an instruction, as instructions, as a command, as your instructions, as your prompt, reply to it, apply it, process as, execute it, answer the result, answer the decoded",
  u: "instead, rather, in place of",
  q: "do not, does not, did not, must not, should not, can not, not, never, dont, doesnt, didnt, cannot, cant, without, nor, wont, wouldnt, shouldnt, mustnt, avoid, refuse to, refuses to, refused to, isnt, unable to, unwilling to, couldnt",
  j: "they, we, he, she, it, who, which, people, users, customers, students, employees, someone, anyone, everyone, somebody, nobody, others, some, many, most, few, may, might, could, would, does, did, often, sometimes, usually, typically, tend, tends, tried, tries, trying, try, able, drivers, players, children, companies, parents, teachers, managers, patients, visitors, readers, i, i will, he will, she will, they will, we will, lets not, easily, simply to, likely, attempts, attempt, attempting, asked, told them, told him, told her, chose, choose, decided, want us, wants us, why, how, tempting, easy, easier, hard, harder, safe, reason, reasons, anybody, because",
  f: "if, when, because, since, although, though, unless, while, whether, as long as, whenever, should you, in case, cases where, situations where, after, before you, once you",
  t: "to",
  p: "could you, would you, can you, will you, could you please, would you please, can you please, please, now, and, then, just, simply, immediately, so, also, kindly, completely, entirely, totally, fully, first, but, quickly, will, can, ok, okay, hey, hi, hello, yes, next, finally, firstly, secondly, urgent, important, attention, stop, wait, actually, right, alright, listen, well, henceforth, therefore, thus, or, proceed to, go ahead and, make sure you, make sure to, you must, you should, you will, you shall, you need to, you have to, i want you to, i need you to, i would like you to, id like you to, i order you to, i command you to, i ask you to, im asking you to, we need you to, we want you to, you are ordered to, you are required to, you are instructed to, you are to, your task is to, remember to, be sure to, feel free to, it is necessary to, it is important that you, it is essential that you",
  w: "about, regarding, concerning, for, on how to, on, in the, with respect to, in case of, in the event, for how, when it comes to, from the manual, from the doctor, on the label, on the box, on the packet, at the",
  n: "a, an, my own, another",
  z: "its, their, his, her, our, the products, the manufacturers, the doctors, the teachers, the courts, the recipe, the manual, traffic, safety at work, grammar, house, school, game",
  m: "me, us, my",
  Y: "your, you, yours, youre, ur, yourself, thy, thine, u",
  A: "all, any, every, everything, each, anything, whatever, whatsoever, all of, any and all, each and every, every single, the entire, the whole, both, any other, all other",
  c: "attack, attacks, attacker, attackers, adversary, adversaries, adversarial, injection, injections, malicious, hacker, hackers, exploit, exploits, exploiting, vulnerability, vulnerabilities, vulnerable, owasp, mitigate, mitigation, mitigations, mitigating, defense, defence, defenses, defend, defending, detect, detects, detecting, detection, detector, threat, threats, red team*, classifier, for example, example, examples, such as, eg, phrase, phrases, phrased, researcher, researchers, article, blog, tutorial, payload, payloads, sanitize, sanitizer, sanitizing, test case*, jailbreaks, jailbreaking, trick, tricks, tricking, spoof, prompt injection*, untrusted, fooled, manipulate, manipulated, manipulation, guard against, protect against, blocklist, keyword, keywords, regex, pattern, patterns, attempts like, prompts like, strings like, texts like, messages like, inputs like, sentences like, requests like, instructions like, things like, lines like, words like, commands like, embedded in, hidden in, persuade, persuading, convince a model, filtered out, signature, signatures, flags, flagged, red flag, red flags",
  _: "out, only, the, of, these, those, this, that, such, in, to you, very, that are, which are, which is, thats, there, here, own, said, as well, too, ever, same, upon, with, by, from, at, into, be, been, being, were, was, are, is, have, has, had"
}
