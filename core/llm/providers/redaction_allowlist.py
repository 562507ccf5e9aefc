"""The words that redaction leaves in a provider's error, as such errors are made of them: data.

A word of this list stays in an operator's log although the conversation has it too, because by itself it tells
nothing of a person. So no word for an illness, a feeling, a crime or a password is in it, even where providers use
it.
"""


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


WORDS = _set("""
a about above accept accepted access account ad add additional advise afford after again ai all allowed already also
alternative an and another any api are argument arguments array as ask asked assistant at attempt audience auth
authentication authorization available azure back backend bad balance base be because been before being below
between billing block blocked body boolean both budget busy but by byte bytes call called caller calls can cannot
capacity certificate change characters chat check choose client cloud code command complete completed completion
completions configuration configured connect connection contact contain contains content context continue control
conversation convert core correct cost could count country create created credential credentials credit credits ctx
cuda current currently daily data date day days deadline decoder decommissioned decrease default delta demand denied
depends deployment deprecated describe detail details detect detected developer did didn different disabled
disconnected do docs documentation does doesn don down draft due duration each effort either empty enable enabled
encountered end endpoint endpoints engine enough ensure entity equal error errors example exceed exceeded exceeds
except exception execute executed exhausted exist exists expected expired exponentially extra fail failed fails
failure false feature few fewer field fields file filter filtered filtering final find finish first flagged float
follow following for forbidden format found free from full function gateway general generate generated generation
get given go good got gpu greater group guardrail guidelines had handle handler has have header headers help here
high host hour hours how however html http https id if ignored image images immediately in inappropriate include
included incorrect increase increasing info information initial initialize inner input inputs inspection install
instance instead insufficient integer interface internal into invalid is isn issue it item its json keep key keys
kind language large larger last later latest least len length less level like limit limited limits line list listed
literal load loaded loading local log logs long longer loop low lower made main maintenance make management many max
maximum may medium memory message messages method min minimal minimum minute minutes missing mode model models
moderate moderation module month more most multiple must name named names need network new next no non none nor not
nothing null number object occurred of off offline old on once one only open operation option optional options or
order org organization other our out output over overflow overflows overload overloaded own page paid parallel param
parameter parameters parse part pass passed path pay payload payment per permission permissions permitted plan plans
please plus policy pool port position positive post potentially pre prefill prefix previous pricing private problem
process processed processing product profile project prompt prompts properties property protocol provide provided
provider providers proxy public pull pulling purchase query queue quota raise range rate rates raw reached read
ready reason reasoning received recharge reduce reduced refer refused region register rejected related release
remaining remote remove renamed rendered replace replica reply request requested requests require required requires
reset resource resources respond response responses responsible result resulted results resume retried retries retry
return returned returns right risk role roles route rpc rule run running runtime safety same sampling say schema
seconds section security see seed select send sensitive sent seq sequence server servers service serving session set
setting settings shape shorten shorter shortly should shut size slow smaller so some something soon sorry space
specified specify stack standing start started state status step stop stopped stream streaming string strong
structure structured subscription success successfully such suffix sum supplied support supported supports sure
switch system table tag take task team technical temperature template temporarily temporary tensor terms territory
text than that the their them then there these they thinking this those thread threshold throttled throttling tier
time timed timeout times timestamp to token tokens too tool tools top total traceback traffic transport trial
triggering true try trying turn turns two type types unable unauthorized unavailable undefined under unexpected
unique unknown unsupported until up update upgrade upper upstream url us usage use used user username users using
valid validate validation value values variable verbosity verification verified verify version via view violated
violates violating violation visit wait was way we web were what when where whether which while who whole will
window with within without worker workspace would wrong you your yourself zero
""")
"""English, as errors have it, and the parts of parameters' names."""
NAMES = _set("""
anthropic azure baichuan bedrock cerebras claude cloudflare codestral cohere command databricks deepseek fireworks
gemini gemma google gpt granite grok groq hf huggingface kimi litellm llama llm llms lm lms magistral minimax
ministral mistral mixtral moonshot nvidia ollama openai openrouter perplexity phi qwen sambanova sglang smollm tgi
together triton vertex vllm volcengine xai zhipu
""")
"""Providers, servers, and families of models."""
UNITS = _set("ctx gi gib http https json kv mb mi mib ms rpd rpm s sse ssl t tls tpd tpm url utf")
"""Units and abbreviations, and what is left of `isn't` and `model's`."""
ALLOWED = WORDS | NAMES | UNITS
