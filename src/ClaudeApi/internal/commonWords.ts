/**
 * Words that the API's own messages consist of, beside the most common words of English. That one of them stands in a message says nothing of a request that
 * has it too.
 */
// Long because it is a table of data.
export const commonWords: ReadonlySet<string> = new Set(
  `
a about above access account across action active actual add added additional after again against all allow allowed allows already also although always am amount an and another any
anthropic api apply appear are argument arguments array as ask assistant at attempt auto available await bad balance base base64 be because been before began begin being below beta
between beyond billing blank block blocked blocks body boolean both budget but by byte bytes cache caching call called calls can cannot cause change changed character characters check choice citation
citations claude client code combination come compaction complete completed computer conflict connection contact contain contained contains content context continue control conversation correct corresponding cost
could count create created credit current data date day days decode default deferred defined definition definitions delete deleted deprecated description did differ different dimension dimensions disabled do
document documentation documents does done due duplicate during each effort either element elements else empty enable enabled encode encoded encoding encountered end ended ends enough ensure error errors even event every
exact exactly example exceed exceeded exceeds except existing exist exists expected expired expires extended extra failed failure false fast feature few field fields file files final find finish first following for
forbidden format found from function gateway gb get give given go got greater group had has have having header headers hello high higher hour hours how however http https id identifier ids if image images immediately in include included
includes index inference information input inputs inside instead integer internal interrupted into invalid is it item items its json just keep key keys kb kind known larger last later least left length
less let level like limit limits list long longer low lower made make malformed many match matches matching max maximum may mb me media medium message messages method middle mime min minimum minute minutes
missing mode model models modified month more most must my name named names near need needed needs negative never new next no non none nonempty nor not note nothing now null number numbers object objects of off
old on once one only open operation option optional or order organization other others otherwise our out output over overloaded own page pages pair parameter parameters parse parsed part partial parts pass passed past path
payload payment pdf per permission permitted pixel pixels place plain plan please point policy position positive possible prefill preceding present previous price problem process processing prompt prompts properties property provide provided public
purchase put quota range rate read reached reason received redacted refer reference refused region reject rejected remain remove removed repeated replace request requested requests require required requires reserved resource
respond response result results retry return returned returns right role rules run running same say schema search second seconds section see seem send sent separate sequence sequences server service session set several she should show
signature since single size sizes small smaller so some something soon source specified specify speed spend start started starts state status still stop stopped stream streaming string strings strict structure such support
supported supports sure system take taken temperature tenant text than that the their them then there these they thing thinking this those though thought through tier time times to together token tokens too tool
tools top total true try turn turns two type types unable unauthorized under unexpected unique unknown unless unrecognized unsupported until up upgrade upload uploaded url usage use used user users uses using valid validation
value values version very via was way we web were what when where whether which while who whole whose will with within without word words workspace would write wrong x yes yet you your zero
`.trim().split(/\s+/)
)
