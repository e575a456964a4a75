//! Whether the user has the rights that are needed. `docs/deploy.md` lists them.

use redis::{Cmd, RedisResult, Value, aio::ConnectionLike, cmd, pipe};
use shared::Generation;

use crate::{
    Access,
    events::{RightsChecked, RightsNotChecked},
    fault::Fault,
    keys::Keys,
    store::Inner,
};

/// Stands in for names in keys that are tried.
const ANY: &str = "X";

/// A right that the user needs.
struct Right {
    /// The command with the key or the channel that it is tried on.
    name: String,
    command: Cmd,
}

impl Right {
    fn new(words: &[&str], more: &[&str]) -> Self {
        let mut command = Cmd::new();
        for word in words.iter().chain(more) {
            command.arg(*word);
        }
        Self { name: words.join(" "), command }
    }
}

impl Inner {
    /// Checks each right and tells which are missing.
    ///
    /// The commands are queued for a transaction that is never executed: the server checks the rights of a command when it
    /// is queued. (`ACL DRYRUN` says the same, and is for administrators.)
    pub(crate) async fn check_rights(&self) {
        match self.missing_rights().await {
            Ok(missing) => RightsChecked { missing: &missing }.tell(),
            Err(error) => RightsNotChecked { error: &error }.tell(),
        }
    }

    pub(crate) async fn missing_rights(&self) -> RedisResult<Vec<String>> {
        let mut connection = self.connections.aside().await?;
        // Alone, so that nothing is executed if it is refused.
        cmd("MULTI").query_async::<()>(&mut connection).await?;
        let rights = rights(&self.keys, self.access);
        let mut queue = pipe();
        for right in &rights {
            queue.add_command(right.command.clone());
        }
        let replies = connection.req_packed_commands(&queue, 0, rights.len()).await?;
        // The connection ends here, and the transaction with it.
        let refused = |reply: Value| {
            let reply: RedisResult<Value> = reply.extract_error();
            reply.is_err_and(|error| Fault::of(&error) == Fault::Permission)
        };
        let missing = rights.into_iter().zip(replies).filter(|(_, reply)| refused(reply.clone()));
        Ok(missing.map(|(right, _)| right.name).collect())
    }
}

fn rights(keys: &Keys, access: Access) -> Vec<Right> {
    let (current, published) = (keys.current(), keys.published());
    let (shard, summary) = (keys.shard(Generation(0), 0), keys.summary(Generation(0)));
    let (history, track) =
        (format!("{}:history:{ANY}", keys.prefix()), format!("{}:track:{ANY}", keys.prefix()));
    let report = format!("{}:reload:{ANY}", keys.prefix());
    let (incomplete, channel) = (keys.incomplete(), keys.channel());
    let mut rights = vec![
        Right::new(&["MGET", &current, &published], &[]),
        Right::new(&["GET", &incomplete], &[]),
        Right::new(&["GET", &summary], &[]),
        Right::new(&["GET", &report], &[]),
        Right::new(&["GET", &track], &[]),
        Right::new(&["HGETALL", &shard], &[]),
        Right::new(&["HKEYS", &shard], &[]),
        Right::new(&["HMGET", &shard], &[ANY]),
        Right::new(&["HGETALL", &history], &[]),
        Right::new(&["SET", &incomplete], &["0"]),
        Right::new(&["PING"], &[]),
        Right::new(&["SUBSCRIBE", &channel], &[]),
        Right::new(&["PUBLISH", &channel], &["0"]),
    ];
    if access == Access::Publish {
        let (drawn, kept) = (keys.drawn(), keys.kept());
        let (pending, withdrawn) = (keys.pending(), keys.withdrawn());
        rights.extend([
            Right::new(&["EVAL"], &["return 1", "1", &drawn]),
            Right::new(&["TIME"], &[]),
            Right::new(&["GET", &current], &[]),
            Right::new(&["GET", &published], &[]),
            Right::new(&["GET", &drawn], &[]),
            Right::new(&["SET", &current], &["0"]),
            Right::new(&["SET", &published], &["0"]),
            Right::new(&["SET", &drawn], &["0"]),
            Right::new(&["HSET", &pending], &[ANY, ANY]),
            Right::new(&["HGET", &pending], &[ANY]),
            Right::new(&["HKEYS", &pending], &[]),
            Right::new(&["HDEL", &pending], &[ANY]),
            Right::new(&["HSET", &kept], &[ANY, ANY]),
            Right::new(&["HGET", &kept], &[ANY]),
            Right::new(&["HEXISTS", &kept], &[ANY]),
            Right::new(&["HGETALL", &kept], &[]),
            Right::new(&["HKEYS", &kept], &[]),
            Right::new(&["HDEL", &kept], &[ANY]),
            Right::new(&["SADD", &withdrawn], &[ANY]),
            Right::new(&["SREM", &withdrawn], &[ANY]),
            Right::new(&["SMEMBERS", &withdrawn], &[]),
            Right::new(&["EXPIRE", &current], &["1"]),
            Right::new(&["HSET", &shard], &[ANY, ANY]),
            Right::new(&["EXPIRE", &shard], &["1"]),
            Right::new(&["UNLINK", &shard], &[]),
            Right::new(&["UNLINK", &incomplete], &[]),
            Right::new(&["SET", &summary], &["0"]),
            Right::new(&["SET", &report], &["0"]),
            Right::new(&["SET", &track], &["0"]),
            Right::new(&["HSET", &history], &[ANY, ANY]),
        ]);
    }
    rights
}
