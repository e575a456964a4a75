//! Which generation is current, which are kept and which are being written: the keys that change together.

use std::{collections::BTreeMap, time::Duration};

use redis::{Cmd, cmd};
use shared::{Digest, Generation, StoreError};

use crate::{connection::Connections, keys::Keys};

/// Larger numbers are not exact in Lua. The clock reaches it in 285 000 years.
pub(crate) const LARGEST: Generation = Generation(1 << 53);

/// Placeholder in the hash of pending generations and in the set of withdrawn digests, so that neither key vanishes. A
/// cluster runs a script on several keys while their slot moves only if all of the keys exist.
const NOTHING: &str = "-";

/// KEYS: drawn. ARGV: expiry, the largest number that is known.
const DRAW: &str = r"
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local last = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(ARGV[2]))
local drawn = string.format('%.0f', math.max(last + 1, clock))
redis.call('SET', KEYS[1], drawn, 'EX', ARGV[1])
return drawn
";

/// KEYS: current, published, pending. ARGV: offered, pending entry, its expiry.
const BEGIN: &str = r"
local published = redis.call('GET', KEYS[2]) or '0'
if tonumber(published) >= tonumber(ARGV[1]) then
    return redis.call('GET', KEYS[1]) or published
end
redis.call('HSET', KEYS[3], '-', '', ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[3], ARGV[3])
return false
";

/// KEYS: current, published, pending, drawn, kept, withdrawn.
/// ARGV: offered, pending entry, kept entry, how many are kept before it, expiry.
const COMMIT: &str = r"
local offered = tonumber(ARGV[1])
-- Asked again because the first answer was lost.
if redis.call('HGET', KEYS[5], ARGV[1]) == ARGV[3] then return {'published'} end
local published = redis.call('GET', KEYS[2]) or '0'
if tonumber(published) >= offered then
    return {'superseded', redis.call('GET', KEYS[1]) or published}
end
if redis.call('HGET', KEYS[3], ARGV[1]) ~= ARGV[2] then return {'lost'} end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[5])
redis.call('SET', KEYS[2], ARGV[1], 'EX', ARGV[5])
if tonumber(redis.call('GET', KEYS[4]) or 0) < offered then redis.call('SET', KEYS[4], ARGV[1]) end
redis.call('EXPIRE', KEYS[4], ARGV[5])
-- No key is removed and made again: where a slot moves, the second command would not find the key.
redis.call('SADD', KEYS[6], '-')
for _, digest in ipairs(redis.call('SMEMBERS', KEYS[6])) do
    if digest ~= '-' then redis.call('SREM', KEYS[6], digest) end
end
redis.call('EXPIRE', KEYS[6], ARGV[5])
redis.call('HSET', KEYS[3], '-', '')
redis.call('HDEL', KEYS[3], ARGV[1])
redis.call('EXPIRE', KEYS[3], ARGV[5])
redis.call('HSET', KEYS[5], ARGV[1], ARGV[3])
redis.call('EXPIRE', KEYS[5], ARGV[5])
local reply = {'published'}
local function drop(key, generation)
    table.insert(reply, generation)
    table.insert(reply, redis.call('HGET', key, generation))
    redis.call('HDEL', key, generation)
end
local kept = redis.call('HKEYS', KEYS[5])
table.sort(kept, function(a, b) return tonumber(a) > tonumber(b) end)
for place, generation in ipairs(kept) do
    if place > ARGV[4] + 1 then drop(KEYS[5], generation) end
end
-- Whoever still writes an older one is superseded.
for _, generation in ipairs(redis.call('HKEYS', KEYS[3])) do
    local number = tonumber(generation)
    if number and number < offered then drop(KEYS[3], generation) end
end
return reply
";

/// KEYS: pending, and the other keys that scripts change. Removes nothing, and fails where a script that changes something
/// would: on a replica, on a server that cannot save or lacks replicas, and while some keys are at another node.
const PROBE: &str = "return redis.call('HDEL', KEYS[1], '?')";

/// KEYS: current, kept, withdrawn. Returns the contents.
const STATE: &str = r"
return {redis.call('GET', KEYS[1]), redis.call('HGETALL', KEYS[2]), redis.call('SMEMBERS', KEYS[3])}
";

/// KEYS: current, kept, withdrawn, drawn, published.
/// ARGV: from, to, digest of what is withdrawn, expiry, the largest number that is known.
///
/// The rollback has a number of its own, which becomes the number that was published last. So an older pointer is a
/// rollback only beside a newer number, and what was drawn before the rollback is superseded.
const ROLL_BACK: &str = r"
local current = redis.call('GET', KEYS[1])
-- Asked again because the first answer was lost.
if current == ARGV[2] and redis.call('HEXISTS', KEYS[2], ARGV[1]) == 0 then return 1 end
if current ~= ARGV[1] or redis.call('HEXISTS', KEYS[2], ARGV[2]) == 0 then return 0 end
local time = redis.call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local drawn = tonumber(redis.call('GET', KEYS[4]) or 0)
local published = tonumber(redis.call('GET', KEYS[5]) or 0)
local number = string.format('%.0f', math.max(drawn + 1, published + 1, tonumber(ARGV[5]) + 1, clock))
redis.call('SET', KEYS[4], number, 'EX', ARGV[4])
redis.call('SET', KEYS[5], number, 'EX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[4])
redis.call('HDEL', KEYS[2], ARGV[1])
redis.call('SADD', KEYS[3], '-', ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[4])
return 1
";

/// A generation whose keys can be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// How many shards it has.
    pub(crate) shards: u32,
    /// Which publication it is, so that one that asks twice recognises itself.
    token: u64,
    /// What it says; not known while it is being written.
    pub(crate) digest: Option<Digest>,
}

impl Entry {
    pub(crate) fn new(shards: u32) -> Self {
        Self { shards, token: fastrand::u64(..), digest: None }
    }

    fn to_text(&self) -> String {
        let pending = format!("{} {:016x}", self.shards, self.token);
        match self.digest {
            Some(digest) => format!("{pending} {}", String::from(digest)),
            None => pending,
        }
    }

    fn from_text(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let shards = words.next()?.parse().ok()?;
        let token = u64::from_str_radix(words.next()?, 16).ok()?;
        let digest = words.next().map(|word| Digest::try_from(word.to_owned())).transpose().ok()?;
        Some(Self { shards, token, digest })
    }
}

/// Generations by their numbers.
pub(crate) type Generations = BTreeMap<Generation, Entry>;

/// The number of the current generation, and the largest number that was published or of a rollback.
pub(crate) type Pointer = (Option<u64>, Option<u64>);

/// What came of moving the pointer.
pub(crate) enum Committed {
    /// It was moved, and these need no longer be there.
    Published(Generations),
    /// This one is current.
    Superseded(Generation),
    /// The server has forgotten what was written.
    Lost,
}

/// What is current and what could be.
pub(crate) struct State {
    pub(crate) current: Option<Generation>,
    pub(crate) kept: Generations,
    /// The digests of what was taken back.
    pub(crate) withdrawn: Vec<String>,
}

/// Speaks to the keys in braces.
pub(crate) struct Ledger<'a> {
    pub(crate) connections: &'a Connections,
    pub(crate) keys: &'a Keys,
}

impl Ledger<'_> {
    /// Draws a number larger than all before it and than `known`.
    pub(crate) async fn draw(&self, known: u64, expiry: Duration) -> Result<Generation, StoreError> {
        let arguments = [&expiry.as_secs().to_string(), &known.to_string()];
        let command = script(DRAW, &[self.keys.drawn()], &arguments.map(String::as_str));
        let what = format!("drawing a number from {}", self.keys.drawn());
        let drawn: u64 = self.connections.ask(&what, command).await?;
        Ok(Generation(drawn))
    }

    /// Notes what is going to be written, or says which generation has superseded it.
    pub(crate) async fn begin(
        &self,
        offered: Generation,
        entry: &Entry,
        expiry: Duration,
    ) -> Result<Option<Generation>, StoreError> {
        let keys = [self.keys.current(), self.keys.published(), self.keys.pending()];
        let arguments = [&offered.to_string(), &entry.to_text(), &expiry.as_secs().to_string()];
        let what = format!("noting generation {offered} in {}", self.keys.pending());
        let command = script(BEGIN, &keys, &arguments.map(String::as_str));
        let current: Option<u64> = self.connections.ask(&what, command).await?;
        Ok(current.map(Generation))
    }

    /// The current generation, if one as late as the offered one was published.
    pub(crate) async fn superseded(&self, offered: Generation) -> Result<Option<Generation>, StoreError> {
        let what = format!("reading {}", self.keys.published());
        let (current, published): Pointer = self.connections.ask(&what, self.pointer()).await?;
        let superseded = published.filter(|published| *published >= offered.0);
        Ok(superseded.map(|published| Generation(current.unwrap_or(published))))
    }

    /// Asks whether a publication could be made now. Nothing changes.
    pub(crate) fn probe(&self) -> Cmd {
        let keys = [
            self.keys.pending(),
            self.keys.current(),
            self.keys.published(),
            self.keys.drawn(),
            self.keys.kept(),
            self.keys.withdrawn(),
        ];
        script(PROBE, &keys, &[])
    }

    /// Asks for the [`Pointer`].
    pub(crate) fn pointer(&self) -> Cmd {
        let mut get = cmd("MGET");
        get.arg(self.keys.current()).arg(self.keys.published());
        get
    }

    pub(crate) async fn commit(
        &self,
        offered: Generation,
        entry: &Entry,
        kept: u32,
        expiry: Duration,
    ) -> Result<Committed, StoreError> {
        let keys = [
            self.keys.current(),
            self.keys.published(),
            self.keys.pending(),
            self.keys.drawn(),
            self.keys.kept(),
            self.keys.withdrawn(),
        ];
        let pending = Entry { digest: None, ..entry.clone() };
        let arguments = [
            &offered.to_string(),
            &pending.to_text(),
            &entry.to_text(),
            &kept.to_string(),
            &expiry.as_secs().to_string(),
        ];
        let what = format!("making generation {offered} {}", self.keys.current());
        let command = script(COMMIT, &keys, &arguments.map(String::as_str));
        let reply: Vec<String> = self.connections.ask(&what, command).await?;
        match reply.split_first() {
            Some((outcome, dropped)) if outcome == "published" => {
                let pairs = dropped.chunks_exact(2).filter_map(|pair| match pair {
                    [generation, entry] => generation_of(generation, entry),
                    _ => None,
                });
                Ok(Committed::Published(pairs.collect()))
            }
            Some((outcome, _)) if outcome == "lost" => Ok(Committed::Lost),
            _ => {
                let current = reply.get(1).and_then(|number| number.parse().ok());
                current.map(|number| Committed::Superseded(Generation(number))).ok_or_else(|| {
                    self.connections.error(&what, &format_args!("{reply:?} is no answer of the script"))
                })
            }
        }
    }

    pub(crate) async fn state(&self) -> Result<State, StoreError> {
        let keys = [self.keys.current(), self.keys.kept(), self.keys.withdrawn()];
        let what = format!("reading {}", self.keys.kept());
        type Reply = (Option<u64>, Vec<(String, String)>, Vec<String>);
        let (current, kept, mut withdrawn): Reply =
            self.connections.ask(&what, script(STATE, &keys, &[])).await?;
        let kept = kept.iter().filter_map(|(generation, entry)| generation_of(generation, entry)).collect();
        withdrawn.retain(|digest| digest != NOTHING);
        Ok(State { current: current.map(Generation), kept, withdrawn })
    }

    /// Keeps all of this for as long again.
    pub(crate) async fn renew(&self, expiry: Duration) -> Result<(), StoreError> {
        let keys = &self.keys;
        let notes = [keys.published(), keys.drawn(), keys.kept(), keys.pending(), keys.withdrawn()];
        // The pointer comes last, so that it does not outlive what it leads to.
        for key in notes.into_iter().chain([keys.current()]) {
            let mut expire = cmd("EXPIRE");
            expire.arg(&key).arg(expiry.as_secs());
            self.connections.ask::<()>(&format!("renewing {key}"), expire).await?;
        }
        Ok(())
    }

    /// Whether there was anything to forget.
    pub(crate) async fn forget_withdrawn(&self) -> Result<bool, StoreError> {
        let withdrawn = self.state().await?.withdrawn;
        if withdrawn.is_empty() {
            return Ok(false);
        }
        let key = self.keys.withdrawn();
        let mut remove = cmd("SREM");
        remove.arg(&key).arg(withdrawn);
        self.connections.ask::<()>(&format!("removing from {key}"), remove).await?;
        Ok(true)
    }

    /// Whether the pointer was moved; it is not if it has been moved meanwhile.
    pub(crate) async fn roll_back(
        &self,
        (from, withdrawn): (Generation, Digest),
        to: Generation,
        known: u64,
        expiry: Duration,
    ) -> Result<bool, StoreError> {
        let keys = [
            self.keys.current(),
            self.keys.kept(),
            self.keys.withdrawn(),
            self.keys.drawn(),
            self.keys.published(),
        ];
        let arguments = [
            from.to_string(),
            to.to_string(),
            withdrawn.into(),
            expiry.as_secs().to_string(),
            known.to_string(),
        ];
        let command = script(ROLL_BACK, &keys, &arguments.each_ref().map(String::as_str));
        let what = format!("rolling back {} to {to}", self.keys.current());
        self.connections.ask(&what, command).await
    }
}

fn generation_of(number: &str, entry: &str) -> Option<(Generation, Entry)> {
    Some((Generation(number.parse().ok()?), Entry::from_text(entry)?))
}

/// The text goes with each call: they are few and it is short, and a server that was restarted needs nothing else.
pub(crate) fn script(text: &str, keys: &[String], arguments: &[&str]) -> Cmd {
    let mut command = cmd("EVAL");
    command.arg(text.trim()).arg(keys.len()).arg(keys).arg(arguments);
    command
}
