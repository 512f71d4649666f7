//! A Valkey or Redis as the store.

use std::{collections::HashMap, fmt, time::Duration};

use data_encoding::BASE64URL_NOPAD;
use p2pdbg_base::Untrusted;
use p2pdbg_proto::{fingerprint::Fingerprint, node::NodeNumber};
use redis::{
    AsyncConnectionConfig, Client, Pipeline, RedisError, aio::MultiplexedConnection, pipe,
};

use super::{ALIVE_FOR, Away, Directory, Epoch, Held, KEPT_FOR, Name, Process, Record, Text};
use crate::keys::LONGEST;

/// How long the store may take to let this node in, and to answer. Nobody waits for it but the store's task.
const PATIENCE: Duration = Duration::from_secs(2);

/// Comes before the others. What is no text no node has written: it is somebody else's, would have each of them fail
/// for good, and goes.
const READ: &str = "
local function read(key)
  local there = redis.pcall('GET', key)
  if type(there) ~= 'table' then return there end
  if not string.find(there.err or '', 'WRONGTYPE', 1, true) then return redis.call('GET', key) end
  redis.call('DEL', key)
  return false
end";

/// Renews a node's own key, or takes it if nobody has it. 0 it was there, 1 it was missing, 2 it is another's. A node
/// writes sixteen hex digits for a time: what is something else, or stays for longer, no node has written, and it would
/// keep this one out for good. A store that does not let its user ask for the time is believed.
const BEAT: &str = "
local there = read(KEYS[1])
local function lives()
  if not there or not string.find(there, '^' .. string.rep('%x', 16) .. '$') then return false end
  local left = redis.pcall('PTTL', KEYS[1])
  return type(left) ~= 'number' or (left >= 0 and left <= tonumber(ARGV[3]))
end
local ours = there == ARGV[1]
if not ours and there ~= ARGV[2] and lives() then return 2 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return ours and 0 or 1";

/// Writes a record unless there is one of somebody who has come later, at a process that lives. How long that one has
/// waited is what it had when it was written, and the time since, which what is left of its life says. A store that
/// does not let its user ask for that has the last word win.
const WRITE: &str = "
local there = read(KEYS[1])
local waited = there and tonumber(string.match(there, ':(%d+)$') or '')
local left = waited and redis.pcall('PTTL', KEYS[1])
local kept = tonumber(ARGV[3])
local known = type(left) == 'number' and left >= 0 and left <= kept
if known and waited + kept - left < tonumber(ARGV[2]) then
  for at = 4, #ARGV do
    if string.sub(there, 1, string.len(ARGV[at])) == ARGV[at] then return 0 end
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
return 1";

/// Removes a record if it is this process's.
const REMOVE: &str = "
local there = read(KEYS[1])
if there and string.sub(there, 1, string.len(ARGV[1])) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0";

/// Reads a text unless it begins with what is known. 0 it is not there, 1 it begins so, 2 it follows: of one that is
/// too long the beginning, which is none of ours, and by which it is replaced.
const TEXT: &str = "
local there = read(KEYS[1])
if not there then return {0, ''} end
if string.len(there) > tonumber(ARGV[2]) then return {2, string.sub(there, 1, 64)} end
local known = ARGV[1]
if known ~= '' and string.sub(there, 1, string.len(known)) == known then return {1, ''} end
return {2, there}";

/// Reads short texts; none where there is something else or a long one, which would fill the memory of every node.
const SHORT: &str = "
local found = {}
for at, key in ipairs(KEYS) do
  local there = redis.pcall('GET', key)
  local fits = type(there) == 'string' and string.len(there) <= tonumber(ARGV[1])
  found[at] = fits and there or false
end
return found";

/// The longest of those, in bytes: several times what nodes write.
const LONGEST_SHORT: usize = 256;

/// Writes a text in place of one that begins so, or of none.
const REPLACE: &str = "
local there, before = read(KEYS[1]), ARGV[1]
local begins = there and before ~= '' and string.sub(there, 1, string.len(before)) == before
if begins or (not there and before == '') then
  redis.call('SET', KEYS[1], ARGV[2])
  return 1
end
return 0";

/// Counts so many more; what is no count, or one that nodes do not reach, begins anew.
const COUNT: &str = "
local count = tonumber(read(KEYS[1]) or '0') or 0
if not (count >= 0 and count < 1e9) then count = 0 end
count = math.floor(count) + tonumber(ARGV[2])
redis.call('SET', KEYS[1], count, 'PX', ARGV[1])
return count";

/// A connection to one store, made anew when it breaks.
pub(crate) struct Valkey {
    client: Client,
    connection: Option<MultiplexedConnection>,
    /// Before all keys: several clusters may share a store.
    prefix: String,
}

impl Valkey {
    /// The store of this URL, for the nodes that this authority has certified.
    ///
    /// # Errors
    /// What is wrong with the URL, without what is secret in it.
    pub(crate) fn new(url: &str, authority: Fingerprint) -> Result<Self, String> {
        let client = Client::open(url).map_err(|_| {
            "the store's URL is not one: expected redis://USER:PASSWORD@HOST:PORT/DB, or rediss:// for TLS"
                .to_owned()
        })?;
        let cluster = &authority.to_string()[..12];
        Ok(Self {
            client,
            connection: None,
            prefix: format!("p2pdbg:{{{cluster}}}"),
        })
    }

    fn of_node(&self, node: NodeNumber) -> String {
        format!("{}:node:{node}", self.prefix)
    }

    fn of_record(&self, name: &Name) -> String {
        format!("{}:at:{}", self.prefix, BASE64URL_NOPAD.encode(&name.0))
    }

    fn of_text(&self, name: &str) -> String {
        format!("{}:{name}", self.prefix)
    }

    /// Sends a batch; a connection over which it came to nothing is not used again.
    async fn send<T: redis::FromRedisValue>(&mut self, batch: &Pipeline) -> Result<T, Away> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match batch.query_async(&mut connection).await {
            Ok(answer) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Err(error) => Err(self.away(&error)),
        }
    }

    /// What lies there, in the order of the keys, of what is short and text.
    async fn short(&mut self, keys: &[String]) -> Result<Vec<Option<String>>, Away> {
        let mut batch = pipe();
        ask_short(&mut batch, keys);
        let (texts,): (Vec<Option<Vec<u8>>>,) = self.send(&batch).await?;
        match texts.len() == keys.len() {
            true => Ok(texts.into_iter().map(|text| utf8(text?)).collect()),
            false => Err(Away(format!("{self} does not answer what it is asked"))),
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Away> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connecting = self
            .client
            .get_multiplexed_async_connection_with_config(&config);
        match tokio::time::timeout(2 * PATIENCE, connecting).await {
            Ok(connected) => connected.map_err(|error| self.away(&error)),
            Err(_) => Err(Away(format!("{self} does not answer"))),
        }
    }

    fn away(&self, error: &RedisError) -> Away {
        Away(format!("{self}: {}", Untrusted::of_error(error)))
    }
}

/// Where it is, without the password.
impl fmt::Display for Valkey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.client.get_connection_info().addr())
    }
}

impl Directory for Valkey {
    async fn beat(
        &mut self,
        own: Process,
        before: Option<Epoch>,
    ) -> Result<(Held, HashMap<NodeNumber, Epoch>), Away> {
        let mut batch = pipe();
        // There is nothing: a user who may remove nothing is told now, and not by the first listener who leaves.
        batch.cmd("DEL").arg(self.of_text("nothing")).ignore();
        batch
            .cmd("EVAL")
            .arg(script(BEAT))
            .arg(1)
            .arg(self.of_node(own.node))
            .arg(own.epoch.to_string())
            .arg(before.map_or_else(String::new, |epoch| epoch.to_string()))
            .arg(milliseconds(ALIVE_FOR));
        // All that there may be: one that this node has not been told of is worth saying.
        let nodes = || (NodeNumber::MIN.get()..=NodeNumber::MAX.get()).filter_map(NodeNumber::new);
        let keys: Vec<String> = nodes().map(|node| self.of_node(node)).collect();
        ask_short(&mut batch, &keys);
        let (held, epochs): (u8, Vec<Option<Vec<u8>>>) = self.send(&batch).await?;
        let held = match held {
            0 => Held::Ours,
            1 => Held::Missing,
            _ => Held::Another,
        };
        let nodes = nodes().zip(epochs);
        let live = nodes.filter_map(|(node, epoch)| Some((node, utf8(epoch?)?.parse().ok()?)));
        Ok((held, live.collect()))
    }

    async fn write(&mut self, records: &[(Name, Record)], live: &[Process]) -> Result<(), Away> {
        let live: Vec<_> = live.iter().map(beginning).collect();
        let mut batch = pipe();
        for (name, record) in records {
            let (key, kept) = (self.of_record(name), milliseconds(KEPT_FOR));
            batch
                .cmd("EVAL")
                .arg(script(WRITE))
                .arg(1)
                .arg(key)
                .arg(text(record))
                .arg(milliseconds(record.waited))
                .arg(kept)
                .arg(&live)
                .ignore();
        }
        self.send(&batch).await
    }

    async fn remove(&mut self, own: Process, names: &[Name]) -> Result<(), Away> {
        let mut batch = pipe();
        for name in names {
            batch
                .cmd("EVAL")
                .arg(script(REMOVE))
                .arg(1)
                .arg(self.of_record(name))
                .arg(beginning(&own))
                .ignore();
        }
        self.send(&batch).await
    }

    async fn read(&mut self, names: &[Name]) -> Result<Vec<Option<Record>>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.of_record(name)).collect();
        let texts = self.short(&keys).await?;
        Ok(texts.into_iter().map(|text| parse(&text?)).collect())
    }

    async fn text(&mut self, name: &str, known: &str) -> Result<Text, Away> {
        let mut batch = pipe();
        let key = self.of_text(name);
        batch.cmd("EVAL").arg(script(TEXT)).arg(1).arg(key);
        batch.arg(known).arg(LONGEST);
        let ((what, text),): ((u8, Vec<u8>),) = self.send(&batch).await?;
        Ok(match what {
            0 => Text::Another(None),
            1 => Text::Same,
            _ => Text::Another(Some(String::from_utf8_lossy(&text).into_owned())),
        })
    }

    async fn replace(&mut self, name: &str, before: &str, text: &str) -> Result<bool, Away> {
        let mut batch = pipe();
        let key = self.of_text(name);
        batch.cmd("EVAL").arg(script(REPLACE)).arg(1).arg(key);
        batch.arg(before).arg(text);
        let (replaced,): (u8,) = self.send(&batch).await?;
        Ok(replaced == 1)
    }

    async fn put(&mut self, name: &str, text: &str, kept: Duration) -> Result<(), Away> {
        let mut batch = pipe();
        let key = self.of_text(name);
        batch.cmd("SET").arg(key).arg(text);
        batch.arg("PX").arg(milliseconds(kept)).ignore();
        self.send(&batch).await
    }

    async fn count(&mut self, more: &[(String, u32)], kept: Duration) -> Result<Vec<u64>, Away> {
        let mut batch = pipe();
        for (name, more) in more {
            let key = self.of_text(name);
            batch.cmd("EVAL").arg(script(COUNT)).arg(1).arg(key);
            batch.arg(milliseconds(kept)).arg(*more);
        }
        self.send(&batch).await
    }

    async fn texts(&mut self, names: &[String]) -> Result<Vec<Option<String>>, Away> {
        let keys: Vec<String> = names.iter().map(|name| self.of_text(name)).collect();
        self.short(&keys).await
    }
}

fn script(body: &str) -> String {
    format!("{READ}{body}")
}

/// What the records of a process begin with.
fn beginning(process: &Process) -> String {
    format!("{}:{}:", process.node, process.epoch)
}

fn ask_short(batch: &mut Pipeline, keys: &[String]) {
    batch.cmd("EVAL").arg(SHORT).arg(keys.len()).arg(keys);
    batch.arg(LONGEST_SHORT);
}

fn utf8(bytes: Vec<u8>) -> Option<String> {
    String::from_utf8(bytes).ok()
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn text(record: &Record) -> String {
    let Record {
        process: Process { node, epoch },
        waited,
    } = record;
    format!("{node}:{epoch}:{}", milliseconds(*waited))
}

/// What a record says; none if it is not one of ours.
fn parse(text: &str) -> Option<Record> {
    let mut parts = text.split(':');
    let mut part = || parts.next();
    let process = Process {
        node: part()?.parse().ok()?,
        epoch: part()?.parse().ok()?,
    };
    let waited = Duration::from_millis(part()?.parse().ok()?);
    part().is_none().then_some(Record { process, waited })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_reads_back_as_it_was_written_and_what_is_none_counts_as_none() {
        let record = Record {
            process: Process {
                node: NodeNumber::MIN,
                epoch: Epoch::draw(),
            },
            waited: Duration::from_millis(86_400_001),
        };
        assert_eq!(parse(&text(&record)), Some(record));
        for other in ["", "10", "10:zz:1", "9:0:1", "10:0:1:2", "10:0:-1"] {
            assert_eq!(parse(other), None, "{other}");
        }
    }

    #[test]
    fn url_that_is_none_is_refused_without_its_password_being_told() {
        let print = Fingerprint::of_certificate(b"authority");
        let refused = |url: &str| Valkey::new(url, print).err().unwrap();
        for url in ["http://user:geheim@store", "redis:geheim", ""] {
            let why = refused(url);
            assert!(!why.contains("geheim") && why.contains("redis://"), "{why}");
        }
    }
}
