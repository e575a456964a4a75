//! What goes wrong in a request, and how the one who asked learns of it.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use shared::{Asset, ModelName};
use thiserror::Error;

use crate::{
    events::RenderingFailed,
    predictions::Unanswered,
    reload::ReloadError,
    rendered::{Momentary, RenderError},
};

/// A request that is not answered as asked. The text is what the user reads.
#[derive(Debug, Error)]
pub(crate) enum ApiError {
    #[error("caminho desconhecido; veja /docs")]
    UnknownPath,
    #[error("método não permitido neste caminho")]
    WrongMethod,
    #[error("só GET é permitido neste caminho: a recarga não é uma leitura")]
    OnlyGet,
    #[error("um só cabeçalho Host, com o nome do servidor, é esperado em HTTP/1.1")]
    BadHost,
    #[error("símbolo inválido: {0:?}; são esperados de 1 a 32 letras, dígitos, '.', '-' ou '_'")]
    BadSymbol(String),
    #[error("ativo {0} desconhecido; veja /symbols")]
    UnknownAsset(Asset),
    #[error("modelo {0:?} desconhecido; veja /models")]
    UnknownModel(String),
    #[error("{name} inválido: {value:?}; é esperado {expected}")]
    BadParameter { name: String, value: String, expected: &'static str },
    #[error("falta o parâmetro {0}: {1}")]
    MissingParameter(&'static str, &'static str),
    #[error("o modelo {0} não tem esse ranking; há por={1}")]
    NoSuchRanking(ModelName, &'static str),
    #[error("nenhum ativo pedido; são esperados de 1 a {0} em ativos")]
    NoAssets(usize),
    #[error("ativos demais; são esperados de 1 a {0} em ativos")]
    TooManyAssets(usize),
    #[error("o corpo não é {{\"ativos\": [\"BTC\", …]}}: {0}")]
    BadBody(String),
    #[error("o corpo tem mais de {0} bytes")]
    LongBody(usize),
    #[error("o corpo deve ser JSON, com Content-Type: application/json")]
    NoJson,
    #[error("não cabem mais ouvintes; tente de novo mais tarde")]
    TooManyListeners,
    #[error(
        "as previsões são demais para serem comparadas na memória deste servidor; veja /symbol/{{ativo}}"
    )]
    TooManyToCompare,
    #[error("erro interno")]
    Internal,
    #[error("ainda não há previsões publicadas; veja /health")]
    NothingServed,
    #[error("as previsões não podem ser lidas agora; veja /health")]
    StoreUnavailable,
    #[error("a recarga exige o token configurado no servidor, em Authorization: Bearer")]
    Unauthorized,
    #[error("a recarga não está disponível neste servidor")]
    CannotReload,
    #[error("a recarga falhou: {}", .0.message)]
    ReloadFailed(ReloadError),
    #[error("os modelos foram recarregados, mas as previsões não puderam ser lidas")]
    CannotRefresh,
}

/// The one shape of all errors.
#[derive(Serialize)]
struct ErrorAnswer {
    detail: String,
    status: u16,
}

impl ApiError {
    fn status(&self) -> StatusCode {
        match self {
            Self::BadHost
            | Self::BadSymbol(_)
            | Self::BadParameter { .. }
            | Self::MissingParameter(..)
            | Self::NoAssets(_)
            | Self::TooManyAssets(_)
            | Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::LongBody(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::NoJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::UnknownPath | Self::UnknownAsset(_) | Self::UnknownModel(_) | Self::NoSuchRanking(..) => {
                StatusCode::NOT_FOUND
            }
            Self::WrongMethod | Self::OnlyGet => StatusCode::METHOD_NOT_ALLOWED,
            Self::ReloadFailed(_) | Self::CannotRefresh | Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::CannotReload => StatusCode::NOT_IMPLEMENTED,
            Self::NothingServed
            | Self::StoreUnavailable
            | Self::TooManyListeners
            | Self::TooManyToCompare => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = self.status();
        let answer = ErrorAnswer { detail: self.to_string(), status: status.as_u16() };
        let mut response = Momentary::json(status, &answer).into_response();
        let headers = response.headers_mut();
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
            }
            StatusCode::METHOD_NOT_ALLOWED if matches!(self, Self::OnlyGet) => {
                headers.insert(ALLOW, HeaderValue::from_static("GET"));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"reload\""));
            }
            _ => {}
        }
        response
    }
}

impl From<Unanswered> for ApiError {
    fn from(reason: Unanswered) -> Self {
        match reason {
            Unanswered::NothingServed => Self::NothingServed,
            Unanswered::StoreUnavailable => Self::StoreUnavailable,
            Unanswered::NotInMemory => Self::TooManyToCompare,
        }
    }
}

impl From<RenderError> for ApiError {
    fn from(error: RenderError) -> Self {
        RenderingFailed { error }.emit();
        Self::Internal
    }
}
