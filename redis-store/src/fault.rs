//! Classifies failed requests by the state of the server, and says how long to retry.

use redis::{ErrorKind, RedisError, ServerErrorKind};

/// The kinds of failures that call for different answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// No answer in time.
    Timeout,
    /// The connection could not be made, or broke.
    Connection,
    /// The user or the password is wrong, or the user lacks a right.
    Permission,
    /// The server reads its data from the disk.
    Loading,
    /// The server takes no writes: it is a replica, lacks replicas, or cannot save its data.
    ReadOnly,
    /// A slot is elsewhere, on its way, or served by nobody.
    Cluster,
    OutOfMemory,
    /// The server refused for another reason.
    Server,
    /// The request or the answer was wrong.
    Client,
}

/// How long a request is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It is no use.
    None,
    /// A few times: a connection that broke is made again at once, or not soon.
    Tries,
    /// For some seconds, which is what a failover or the move of a slot takes.
    Seconds,
}

impl Fault {
    pub(crate) fn of(error: &RedisError) -> Self {
        if error.is_timeout() {
            return Self::Timeout;
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Self::Connection,
            ErrorKind::AuthenticationFailed => Self::Permission,
            ErrorKind::Server(ServerErrorKind::ExecAbort) => Self::of_aborted(error),
            ErrorKind::Server(_) | ErrorKind::Extension => {
                Self::of_reply(error.code().unwrap_or_default(), error.detail().unwrap_or_default())
            }
            _ => Self::Client,
        }
    }

    /// A transaction is aborted because of the first command in it that was refused.
    fn of_aborted(error: &RedisError) -> Self {
        let refused = error.clone().into_server_errors();
        let first = refused.as_deref().and_then(<[_]>::first);
        first.map_or(Self::Server, |(_, first)| {
            Self::of_reply(first.code(), first.details().unwrap_or_default())
        })
    }

    fn of_reply(code: &str, detail: &str) -> Self {
        match code {
            "NOPERM" | "NOAUTH" | "WRONGPASS" => Self::Permission,
            "LOADING" => Self::Loading,
            // UNBLOCKED: the server became a replica while a request waited.
            "READONLY" | "MASTERDOWN" | "UNBLOCKED" | "NOREPLICAS" | "MISCONF" => Self::ReadOnly,
            "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" => Self::Cluster,
            "OOM" => Self::OutOfMemory,
            // Servers before Redis 7 wrap what a command in a script was refused for: "Error running script …: -OOM …".
            _ => match detail.split_whitespace().find_map(|word| word.strip_prefix('-')) {
                Some(code)
                    if code != "ERR"
                        && !code.is_empty()
                        && code.bytes().all(|byte| byte.is_ascii_uppercase()) =>
                {
                    Self::of_reply(code, "")
                }
                _ => Self::Server,
            },
        }
    }

    /// The label under which it is counted.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Permission => "permission",
            Self::Loading => "loading",
            Self::ReadOnly => "read_only",
            Self::Cluster => "cluster",
            Self::OutOfMemory => "out_of_memory",
            Self::Server => "server",
            Self::Client => "client",
        }
    }

    pub(crate) fn patience(self) -> Patience {
        match self {
            Self::Timeout | Self::Connection => Patience::Tries,
            Self::Loading | Self::ReadOnly | Self::Cluster => Patience::Seconds,
            Self::Permission | Self::OutOfMemory | Self::Server | Self::Client => Patience::None,
        }
    }

    /// Whether another connection may lead to a server that does not have it: the address of a primary leads to another
    /// server after a failover.
    pub(crate) fn is_of_the_connection(self) -> bool {
        match self {
            Self::Timeout | Self::Connection | Self::Loading | Self::ReadOnly | Self::Cluster => true,
            Self::Permission | Self::OutOfMemory | Self::Server | Self::Client => false,
        }
    }

    /// Advice for the end of an error message.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::OutOfMemory => {
                "; the server is out of memory: raise its maxmemory, or keep fewer generations (KEPT_GENERATIONS)"
            }
            Self::Permission => {
                "; check the password, and grant the user the rights that docs/deploy.md lists"
            }
            Self::ReadOnly => {
                "; the server takes no writes: REDIS_URL has to lead to the primary, and it has to be able to save"
            }
            _ => "",
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::{RedisError, RedisResult, Value, parse_redis_value};

    use super::*;

    fn error(reply: &str) -> RedisError {
        let value = parse_redis_value(reply.as_bytes()).unwrap();
        let result: RedisResult<Value> = value.extract_error();
        result.unwrap_err()
    }

    #[test]
    fn a_refusal_is_counted_as_what_it_is_also_inside_a_script() {
        let in_script = "-ERR Error running script (call to f_1): @user_script:3:";
        for (reply, fault) in [
            ("-READONLY You can't write against a read only replica.".to_owned(), Fault::ReadOnly),
            ("-NOREPLICAS Not enough good replicas to write.".to_owned(), Fault::ReadOnly),
            ("-MISCONF Errors writing to the AOF file".to_owned(), Fault::ReadOnly),
            ("-UNBLOCKED force unblock from blocking operation".to_owned(), Fault::ReadOnly),
            ("-MASTERDOWN Link with MASTER is down".to_owned(), Fault::ReadOnly),
            ("-LOADING Redis is loading the dataset in memory".to_owned(), Fault::Loading),
            ("-TRYAGAIN Multiple keys request during rehashing of slot".to_owned(), Fault::Cluster),
            ("-OOM command not allowed when used memory > 'maxmemory'.".to_owned(), Fault::OutOfMemory),
            (
                format!("{in_script} -OOM command not allowed when used memory > 'maxmemory'."),
                Fault::OutOfMemory,
            ),
            (format!("{in_script} -READONLY You can't write"), Fault::ReadOnly),
            (format!("{in_script} -ERR wrong number of arguments"), Fault::Server),
            ("-NOPERM User u has no permissions to run the 'eval' command".to_owned(), Fault::Permission),
            ("-ERR unknown command 'X', with args beginning with: -1".to_owned(), Fault::Server),
        ] {
            assert_eq!(Fault::of(&error(&format!("{reply}\r\n"))), fault, "{reply}");
        }
    }
}
