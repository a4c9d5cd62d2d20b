//! Clients and workloads that speak HTTP/2.

use std::future::Future;

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::server::{self, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::harness::{App, Front, within};

/// A client with one connection.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) session: SendRequest<Bytes>,
    pub(crate) wire: JoinHandle<Result<(), h2::Error>>,
}

/// An answer that was read to its end.
#[derive(Debug)]
pub(crate) struct Whole {
    pub(crate) status: u16,
    pub(crate) fields: HeaderMap,
    pub(crate) body: String,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Whole {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.as_ref()?.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A request of the one instance that is there.
pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(format!("http://alice.notes.localhost{path}"))
}

impl Client {
    pub(crate) async fn of(front: &Front) -> Self {
        Self::with(front, &client::Builder::new()).await
    }

    pub(crate) async fn with(front: &Front, settings: &client::Builder) -> Self {
        let stream = TcpStream::connect(front.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (session, wire) = settings.handshake(stream).await.unwrap();
        Self { session, wire: tokio::spawn(wire) }
    }

    pub(crate) async fn begin(
        &mut self,
        request: http::request::Builder,
        ended: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        let mut session = within(self.session.clone().ready()).await.unwrap();
        session.send_request(request.body(()).unwrap(), ended).unwrap()
    }

    /// Asks and reads the answer whole.
    pub(crate) async fn ask(&mut self, request: http::request::Builder, body: &str) -> Whole {
        let (response, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true).unwrap();
        }
        whole(within(response).await.unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&mut self, path: &str) -> Whole {
        self.ask(request("GET", path), "").await
    }
}

/// Reads an answer to its end.
pub(crate) async fn whole(response: Response<RecvStream>) -> Result<Whole, h2::Error> {
    let (parts, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = within(stream.data()).await {
        let piece = piece?;
        stream.flow_control().release_capacity(piece.len()).unwrap();
        body.extend_from_slice(&piece);
    }
    let trailers = within(stream.trailers()).await?;
    let body = String::from_utf8(body).unwrap();
    Ok(Whole { status: parts.status.as_u16(), fields: parts.headers, body, trailers })
}

/// A workload that speaks HTTP/2: a script that serves each stream.
pub(crate) async fn h2_app<F, Fut>(script: F) -> App
where
    F: Fn(Request<RecvStream>, SendResponse<Bytes>) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let app = App::new(move |_, wire| {
        let script = script.clone();
        async move {
            let mut wire = server::handshake(wire.stream).await.unwrap();
            while let Some(Ok((request, respond))) = wire.accept().await {
                tokio::spawn(script(request, respond));
            }
        }
    })
    .await;
    app.speaking_h2c()
}
