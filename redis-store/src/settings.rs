use std::{
    fmt, fs,
    io::{self, Read},
    path::Path,
    str::FromStr,
    sync::Arc,
    time::Duration,
};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisResult, TlsCertificates,
    cluster::{ClusterClient, ClusterClientBuilder},
};
use shared::config::InvalidVariable;
use thiserror::Error;

use crate::connection::{CLUSTER_RETRIES, CONNECT_WITHIN, REQUEST_WITHIN, RESPOND_WITHIN};

/// The largest file of certificates that is read. The authorities that browsers trust take a quarter of it.
const CA_BYTES: u64 = 1 << 20;

/// Where Redis is, and how long what is in it is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The servers.
    pub servers: Servers,
    /// What all keys begin with. Default `cripto`.
    pub prefix: Prefix,
    /// How many generations before the current one are kept for
    /// [`rollback`](crate::RedisStore::rollback). Default 2.
    pub kept: u32,
    /// For how long what is published is kept when it is neither confirmed nor replaced.
    /// Default 7 days.
    pub expiry: Duration,
    /// How often the server is asked what is current although nothing was heard of it.
    /// Default 2 seconds.
    pub poll: Duration,
    /// Whether the store is read only. It decides which rights the user needs. They are checked when the servers are first
    /// reached. Default [`Access::Publish`].
    pub access: Access,
}

/// The use of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading and following. A reader also reports that a part of a generation is missing.
    Read,
    /// The same, and publishing.
    Publish,
}

impl Settings {
    /// The default settings for these servers.
    #[must_use]
    pub fn new(servers: Servers) -> Self {
        Self {
            servers,
            prefix: Prefix("cripto".into()),
            kept: 2,
            expiry: Duration::from_secs(7 * 24 * 60 * 60),
            poll: Duration::from_secs(2),
            access: Access::Publish,
        }
    }
}

/// What all keys begin with: 1 to 64 ASCII letters, digits, `.`, `-` or `_`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix(Box<str>);

/// A text that keys cannot begin with.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("1 to 64 letters, digits, '.', '-' or '_'")]
pub struct InvalidPrefix;

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // No braces and colons: they would change what is in one slot, and where a name ends.
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let well_formed = (1..=64).contains(&text.len()) && text.bytes().all(allowed);
        if well_formed { Ok(Self(text.into())) } else { Err(InvalidPrefix) }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One Redis server or several, of which each is tried until one answers. Whether they are a cluster is asked of them.
#[derive(Clone)]
pub struct Servers {
    pub(crate) infos: Vec<ConnectionInfo>,
    ca: Option<Authorities>,
    names: Box<str>,
}

/// The certificates to trust instead of the system's.
#[derive(Clone)]
enum Authorities {
    Pem(Arc<[u8]>),
    /// A file that is read again for each connection, so that a replaced one needs no restart.
    File(Arc<Path>),
}

/// Servers that cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidServers {
    /// The URL cannot be used.
    #[error("{redacted:?}: {reason}")]
    Url {
        /// The URL, without its password.
        redacted: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificates cannot be used.
    #[error("{0}")]
    Certificates(String),
}

impl Servers {
    /// The servers of a URL such as `redis://host:6379` or `rediss://user:password@host:6380`, or of several
    /// separated by commas, of which later ones may be just `host:port`. With TLS, `ca` are the certificates, as PEM,
    /// to trust instead of the system's.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub fn new(urls: &str, ca: Option<&[u8]>) -> Result<Self, InvalidServers> {
        Self::trusting(urls, ca.map(|pem| Authorities::Pem(pem.into())))
    }

    /// As [`new`](Self::new), with the certificates of a file. The file is read again for each connection, so that
    /// certificates can be replaced while the program runs.
    ///
    /// # Errors
    /// One of the URLs, or the file as it is now, cannot be used.
    pub fn with_ca_file(urls: &str, ca: &Path) -> Result<Self, InvalidServers> {
        Self::trusting(urls, Some(Authorities::File(ca.into())))
    }

    fn trusting(urls: &str, ca: Option<Authorities>) -> Result<Self, InvalidServers> {
        let infos = connections(urls)?;
        let names: Vec<String> = infos.iter().map(|info| info.addr().to_string()).collect();
        let servers = Self { infos, ca, names: names.join(",").into() };
        let pem = servers.ca.as_ref().map(Authorities::read).transpose();
        let pem = pem.map_err(|error| InvalidServers::Certificates(error.to_string()))?;
        let unusable = |error: redis::RedisError| match &pem {
            Some(_) => InvalidServers::Certificates(error.to_string()),
            None => url_error(urls, &error),
        };
        for info in &servers.infos {
            client(info, pem.as_deref()).map_err(unusable)?;
        }
        servers.cluster(pem.as_deref()).map_err(|error| url_error(urls, &error))?;
        Ok(servers)
    }

    /// The servers that the variables `REDIS_URL` and `REDIS_CA_FILE`, or flags of these names, say.
    ///
    /// # Errors
    /// One of them cannot be used. Passwords are not repeated.
    pub fn configured(url: &str, ca_file: Option<&Path>) -> Result<Self, InvalidVariable> {
        let servers = match ca_file {
            Some(ca_file) => Self::with_ca_file(url, ca_file),
            None => Self::new(url, None),
        };
        servers.map_err(|error| match error {
            InvalidServers::Url { redacted, reason } => InvalidVariable {
                variable: "REDIS_URL",
                value: redacted,
                expected: format!(
                    "redis://[user:password@]host:port, rediss:// for TLS, several separated by commas ({reason})"
                ),
            },
            InvalidServers::Certificates(reason) => InvalidVariable {
                variable: "REDIS_CA_FILE",
                value: ca_file.map_or_else(String::new, |file| file.display().to_string()),
                expected: format!("a file of PEM certificates, and rediss:// in REDIS_URL ({reason})"),
            },
        })
    }

    /// The certificates to trust, as they are now.
    pub(crate) async fn certificates(&self) -> RedisResult<Option<Vec<u8>>> {
        let Some(ca) = self.ca.clone() else { return Ok(None) };
        let read = tokio::task::spawn_blocking(move || ca.read()).await;
        Ok(Some(read.map_err(io::Error::other)??))
    }

    /// A client for all servers as the nodes of a cluster.
    pub(crate) fn cluster(&self, ca: Option<&[u8]>) -> RedisResult<ClusterClient> {
        let mut builder = ClusterClientBuilder::new(self.infos.clone())
            .connection_timeout(CONNECT_WITHIN)
            .response_timeout(RESPOND_WITHIN)
            .overall_response_timeout(Some(REQUEST_WITHIN))
            .retries(CLUSTER_RETRIES)
            .min_retry_wait(20)
            .max_retry_wait(200);
        if let Some(pem) = ca {
            builder = builder.certs(tls(pem));
        }
        builder.build()
    }
}

/// A client for one server.
pub(crate) fn client(info: &ConnectionInfo, ca: Option<&[u8]>) -> RedisResult<Client> {
    match ca {
        Some(pem) => Client::build_with_tls(info.clone(), tls(pem)),
        None => Client::open(info.clone()),
    }
}

fn tls(pem: &[u8]) -> TlsCertificates {
    TlsCertificates { client_tls: None, root_cert: Some(pem.to_vec()) }
}

impl Authorities {
    fn read(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Pem(pem) => Ok(pem.to_vec()),
            Self::File(path) => read_file(path).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot read {}: {error}", path.display()))
            }),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?.take(CA_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > CA_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {CA_BYTES} bytes")));
    }
    Ok(content)
}

fn connections(urls: &str) -> Result<Vec<ConnectionInfo>, InvalidServers> {
    let mut urls_of_nodes = urls.split(',').map(str::trim);
    let first = urls_of_nodes.next().unwrap_or_default();
    // What the later ones do not say is as in the first.
    let host = first.find("://").map_or(0, |at| at.saturating_add(3));
    let host = first.rfind('@').map_or(host, |at| at.saturating_add(1));
    let (before, _) = first.split_at(host);
    let complete = |url: &str| {
        if url.contains("://") { url.to_owned() } else { format!("{before}{url}") }
    };
    std::iter::once(first.to_owned())
        .chain(urls_of_nodes.map(complete))
        .map(|url| {
            let info = url.into_connection_info().map_err(|error| url_error(urls, &error))?;
            match info.addr() {
                ConnectionAddr::Tcp(..) | ConnectionAddr::TcpTls { .. } => Ok(info),
                _ => Err(InvalidServers::Url {
                    redacted: redacted(urls),
                    reason: "a host is needed".to_owned(),
                }),
            }
        })
        .collect()
}

fn url_error(urls: &str, error: &redis::RedisError) -> InvalidServers {
    InvalidServers::Url { redacted: redacted(urls), reason: error.to_string() }
}

/// Without user and password, also where the text is no URL.
fn redacted(urls: &str) -> String {
    let redact = |url: &str| match (url.find("://"), url.rfind('@')) {
        (Some(scheme), Some(at)) if scheme < at => {
            format!("{}://***{}", url.get(..scheme).unwrap_or_default(), url.get(at..).unwrap_or_default())
        }
        (None, Some(at)) => format!("***{}", url.get(at..).unwrap_or_default()),
        _ => url.to_owned(),
    };
    // A password with a comma in it must not lose its end to the next part: then nothing but the hosts is said.
    let parts: Vec<&str> = urls.split(',').collect();
    match urls.rfind('@') {
        Some(_) if parts.iter().any(|part| !part.contains('@') && part.contains("://")) => "***".to_owned(),
        _ => parts.into_iter().map(redact).collect::<Vec<_>>().join(","),
    }
}

impl FromStr for Servers {
    type Err = InvalidServers;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text, None)
    }
}

/// Their names, without passwords.
impl fmt::Display for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.names.fmt(formatter)
    }
}

impl fmt::Debug for Servers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Servers").field(&self.names).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_without_their_passwords() {
        for (urls, names) in [
            ("redis://127.0.0.1:6379", "127.0.0.1:6379"),
            ("redis://localhost", "localhost:6379"),
            ("rediss://user:secret@cache.example:6380/0", "cache.example:6380"),
            ("redis://:secret@a:1,b:2, c", "a:1,b:2,c:6379"),
            ("redis://:secret@a:1,redis://:secret@b:2", "a:1,b:2"),
        ] {
            let servers: Servers = urls.parse().unwrap();
            assert_eq!(servers.to_string(), names, "{urls}");
            assert!(!format!("{servers:?}").contains("secret"));
        }
        let second = &"redis://u:secret@a:1,b:2".parse::<Servers>().unwrap().infos[1];
        assert_eq!(second.redis_settings().password(), Some("secret"));
    }

    #[test]
    fn what_is_no_url_of_a_server_is_refused_without_its_password() {
        for urls in [
            "",
            "127.0.0.1:6379",
            "http://127.0.0.1",
            "redis://",
            "redis://host:port",
            "redis://u:secret@host:port",
            "u:secret@host",
            "redis://u:sec,secret@host:1",
            "redis://u:secret@a:1,redis://u:other@b:2",
            "redis://u:secret@a:1,rediss://u:secret@b:2",
            "redis+unix:///tmp/socket",
        ] {
            let error = urls.parse::<Servers>().unwrap_err().to_string();
            assert!(!error.contains("sec"), "{urls}: {error}");
        }
        let error = Servers::new("redis://a:1", Some(b"no certificate")).unwrap_err();
        assert!(matches!(error, InvalidServers::Certificates(_)), "{error}");
        let error = Servers::new("rediss://a:1", Some(b"-----BEGIN CERTIFICATE-----\n!\n")).unwrap_err();
        assert!(matches!(error, InvalidServers::Certificates(_)), "{error}");
    }

    #[test]
    fn a_prefix_is_one_word() {
        assert_eq!("cripto-2".parse::<Prefix>().unwrap().to_string(), "cripto-2");
        for text in ["", "a:b", "{a}", "a b", "ç", &"a".repeat(65)] {
            assert!(text.parse::<Prefix>().is_err(), "{text:?} was accepted");
        }
    }
}
