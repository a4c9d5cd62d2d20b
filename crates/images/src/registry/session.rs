//! Asking one registry for one image.

use std::io;

use ::http::{HeaderValue, StatusCode, Uri};
use insula_spec::{Digest, Reference, Secret};
use serde::Deserialize;

use super::PullError;
use super::challenge::Challenge;
use super::credentials::{AuthFiles, Login};
use super::http::{Answer, Ask, Http, authority};
use crate::digest::digest_of;
use crate::document::{DocumentError, verify};
use crate::formats::{DOCKER_LIST, DOCKER_MANIFEST, INDEX, MANIFEST};
use crate::layer::Bounds;

/// Where images of `docker.io` are.
const DOCKER_HOST: &str = "registry-1.docker.io";
/// Longest answer with a token, in bytes.
const TOKEN_MAX: u64 = 1 << 20;

/// One registry and one image, with what it wants to be told.
#[derive(Debug)]
pub(super) struct Session {
    http: Http,
    name: Reference,
    base: String,
    login: Option<Login>,
    /// What the registry is told with each request.
    authorization: Option<Secret>,
    pub(super) bounds: Bounds,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl Session {
    pub(super) fn new(
        name: &Reference,
        files: &AuthFiles,
        plain: bool,
        bounds: Bounds,
    ) -> Result<Self, PullError> {
        let registry = name.registry();
        let login = files.login(registry, name.repository())?;
        let host = if registry == "docker.io" { DOCKER_HOST } else { registry };
        let connect = |source: io::Error| PullError::Connect { host: host.to_owned(), source };
        let http = Http::new(plain).map_err(connect)?;
        let base = format!("{}://{host}/v2/{}", http.scheme(host), name.repository());
        Ok(Self { http, name: name.clone(), base, login, authorization: None, bounds })
    }

    pub(super) fn name(&self) -> &Reference {
        &self.name
    }

    /// The manifest or index of the image, and whether it is the latter.
    pub(super) async fn manifest(&mut self, digest: Option<Digest>) -> Result<Vec<u8>, PullError> {
        let which = match digest {
            Some(digest) => digest.to_string(),
            None => self.name.tag().unwrap_or("latest").to_owned(),
        };
        let accept = [MANIFEST, DOCKER_MANIFEST, INDEX, DOCKER_LIST].join(", ");
        let ask = Ask { accept: Some(&accept), ..Ask::default() };
        let mut answer = self.ask(&format!("manifests/{which}"), ask).await?;
        let told = answer.header("docker-content-digest").and_then(|told| told.parse::<Digest>().ok());
        let bytes = self.whole(&mut answer, "manifest").await?;
        let actual = digest_of(&bytes);
        let expected = digest.or(told).unwrap_or(actual);
        verify(&bytes, expected, "manifest").map_err(|e| self.wrong(e))?;
        Ok(bytes)
    }

    /// A small blob, in memory.
    pub(super) async fn document(&mut self, digest: Digest) -> Result<Vec<u8>, PullError> {
        let mut answer = self.ask(&format!("blobs/{digest}"), Ask::default()).await?;
        let bytes = self.whole(&mut answer, "configuration").await?;
        verify(&bytes, digest, "configuration").map_err(|e| self.wrong(e))?;
        Ok(bytes)
    }

    /// A blob from this byte on. Any status but success is an error, except that the range cannot be had.
    pub(super) async fn blob(&mut self, digest: Digest, from: u64) -> Result<Answer, PullError> {
        self.ask(&format!("blobs/{digest}"), Ask { from: Some(from), ..Ask::default() }).await
    }

    pub(super) fn wrong(&self, source: DocumentError) -> PullError {
        PullError::Document { name: self.name.clone(), source: Box::new(source) }
    }

    async fn whole(&self, answer: &mut Answer, what: &'static str) -> Result<Vec<u8>, PullError> {
        let limit = self.bounds.document;
        answer.whole(limit).await?.ok_or_else(|| self.wrong(DocumentError::Long { what, limit }))
    }

    /// Asks; if the registry wants to know who, tells it and asks once more.
    async fn ask(&mut self, path: &str, ask: Ask<'_>) -> Result<Answer, PullError> {
        let uri = format!("{}/{path}", self.base);
        let uri: Uri = uri.parse().map_err(|_| PullError::NotFound(self.name.clone()))?;
        let answer =
            self.http.get(&uri, &Ask { authorization: self.authorization.as_ref(), ..ask.clone() }).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return self.judge(answer).await;
        }
        self.authorize(&answer, &uri).await?;
        let answer = self.http.get(&uri, &Ask { authorization: self.authorization.as_ref(), ..ask }).await?;
        self.judge(answer).await
    }

    async fn judge(&self, answer: Answer) -> Result<Answer, PullError> {
        match answer.status {
            status if status.is_success() => Ok(answer),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(answer),
            StatusCode::NOT_FOUND => Err(PullError::NotFound(self.name.clone())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.denied()),
            _ => Err(answer.refusal().await),
        }
    }

    fn denied(&self) -> PullError {
        let (registry, known) = (self.name.registry().to_owned(), self.login.is_some());
        PullError::Denied { registry, name: self.name.clone(), known }
    }

    /// Finds out what to tell the registry.
    async fn authorize(&mut self, answer: &Answer, uri: &Uri) -> Result<(), PullError> {
        let headers: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
        let headers: Vec<_> =
            headers.into_iter().filter_map(|value: &HeaderValue| value.to_str().ok()).collect();
        // A redirect may have led elsewhere: that host is told nothing.
        let challenge = (answer.host == authority(uri)).then(|| Challenge::parse(&headers)).flatten();
        let basic = match &self.login {
            Some(Login::Basic(secret)) => Some(Secret::from(format!("Basic {}", secret.expose()))),
            _ => None,
        };
        self.authorization = Some(match challenge.ok_or_else(|| self.denied())? {
            Challenge::Basic => basic.ok_or_else(|| self.denied())?,
            Challenge::Bearer { realm, service } => self.token(&realm, service.as_deref(), basic).await?,
        });
        Ok(())
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        basic: Option<Secret>,
    ) -> Result<Secret, PullError> {
        if let Some(Login::Identity(token)) = &self.login {
            return Ok(Secret::from(format!("Bearer {}", token.expose())));
        }
        let host = self.name.registry().to_owned();
        let odd = |what| PullError::Protocol { host: host.clone(), what };
        let join = if realm.contains('?') { '&' } else { '?' };
        let mut address = format!("{realm}{join}scope=repository:{}:pull", self.name.repository());
        if let Some(service) = service {
            address += &format!("&service={}", percent(service));
        }
        let uri: Uri = address.parse().map_err(|_| odd("its realm is no address"))?;
        let ask = Ask { authorization: basic.as_ref(), ..Ask::default() };
        let mut answer = self.http.get(&uri, &ask).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => return Err(self.denied()),
            status if !status.is_success() => return Err(answer.refusal().await),
            _ => {}
        }
        let bytes = answer.whole(TOKEN_MAX).await?.ok_or_else(|| odd("its token is too long"))?;
        let token: Token = serde_json::from_slice(&bytes).map_err(|_| odd("its token cannot be read"))?;
        let token = token.token.or(token.access_token).ok_or_else(|| odd("it gives no token"))?;
        Ok(Secret::from(format!("Bearer {token}")))
    }
}

/// A text as a value in a query.
fn percent(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
