//! Commands beside a workload.

use http::{Request, header};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use insula_spec::InstanceName;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::{Client, ClientError, connection};
use crate::{EXEC_PROTOCOL, ExecEnd, ExecFrame, ExecFrames, ExecRequest, PREFIX};

type Stream = TokioIo<Upgraded>;

/// What comes from a command.
#[derive(Debug, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote this to its standard output.
    Stdout(Vec<u8>),
    /// It wrote this to its standard error.
    Stderr(Vec<u8>),
    /// So many bytes of input were taken.
    Taken(usize),
    /// It ended.
    End(ExecEnd),
}

/// The output of a command. Dropping both this and its input ends the command.
#[derive(Debug)]
pub struct ExecOutput {
    from: ReadHalf<Stream>,
    frames: ExecFrames,
}

/// The input of a command.
#[derive(Debug)]
pub struct ExecInput {
    to: WriteHalf<Stream>,
}

impl Client {
    /// Runs a command in the walls of an instance, which is woken if it sleeps.
    ///
    /// # Errors
    /// When the daemon does not answer or refuses, the instance is not known or cannot be woken, or the command cannot
    /// be started.
    pub async fn exec(
        &self,
        name: &InstanceName,
        request: &ExecRequest,
    ) -> Result<(ExecInput, ExecOutput), ClientError> {
        let path = format!("{PREFIX}/instances/{name}/exec");
        let builder = Request::builder()
            .method("POST")
            .uri(path)
            .header(header::CONNECTION, "upgrade")
            .header(header::UPGRADE, EXEC_PROTOCOL);
        let stream = connection::upgrade(&self.target, builder, Empty::<Bytes>::new()).await?;
        let (from, to) = tokio::io::split(stream);
        let (mut input, mut output) = (ExecInput { to }, ExecOutput { from, frames: ExecFrames::default() });
        let begin = serde_json::to_vec(request).map_err(ClientError::Decode)?;
        input.send(ExecFrame::Begin, &begin).await?;
        match output.frame().await? {
            (ExecFrame::Started, _) => Ok((input, output)),
            (ExecFrame::End, content) => {
                match serde_json::from_slice(&content).map_err(ClientError::Decode)? {
                    ExecEnd::Problem(problem) => Err(ClientError::problem(problem)),
                    ExecEnd::Exited(_) | ExecEnd::Signal(_) => Err(ClientError::Protocol),
                }
            }
            _ => Err(ClientError::Protocol),
        }
    }
}

impl ExecOutput {
    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// When the connection broke before the command ended.
    pub async fn next(&mut self) -> Result<ExecEvent, ClientError> {
        let (frame, content) = self.frame().await?;
        match frame {
            ExecFrame::Stdout => Ok(ExecEvent::Stdout(content)),
            ExecFrame::Stderr => Ok(ExecEvent::Stderr(content)),
            ExecFrame::Taken => {
                let bytes = content.try_into().map(u32::from_be_bytes).map_err(|_| ClientError::Protocol)?;
                Ok(ExecEvent::Taken(usize::try_from(bytes).map_err(|_| ClientError::Protocol)?))
            }
            ExecFrame::End => {
                serde_json::from_slice(&content).map(ExecEvent::End).map_err(ClientError::Decode)
            }
            _ => Err(ClientError::Protocol),
        }
    }

    async fn frame(&mut self) -> Result<(ExecFrame, Vec<u8>), ClientError> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match self.frames.next_frame().map_err(|_| ClientError::Protocol)? {
                Some((ExecFrame::Alive, _)) => continue,
                Some(frame) => return Ok(frame),
                None => {}
            }
            match self.from.read(&mut buffer).await {
                Ok(n @ 1..) => self.frames.push(&buffer[..n]),
                Ok(_) => return Err(ClientError::Cut(std::io::ErrorKind::UnexpectedEof.into())),
                Err(e) => return Err(ClientError::Cut(e)),
            }
        }
    }
}

impl ExecInput {
    /// Sends input. At most [`crate::EXEC_INPUT_WINDOW`] bytes may be under way that no [`ExecEvent::Taken`] answered.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        self.send(ExecFrame::Input, bytes).await
    }

    /// Says that nothing more comes. The connection stays: closing it ends the command.
    ///
    /// # Errors
    /// When the connection broke.
    pub async fn end(&mut self) -> Result<(), ClientError> {
        self.send(ExecFrame::InputEnd, &[]).await
    }

    async fn send(&mut self, frame: ExecFrame, content: &[u8]) -> Result<(), ClientError> {
        let bytes = frame.with(content).ok_or(ClientError::Protocol)?;
        self.to.write_all(&bytes).await.map_err(ClientError::Cut)?;
        self.to.flush().await.map_err(ClientError::Cut)
    }
}
