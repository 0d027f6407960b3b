"""Settings of a Postroom installation: one file, driven by the environment (docs/operations.md lists the variables)."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
import tomllib
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

import environ

from config import devpg

BASE_DIR = Path(__file__).resolve().parent.parent
STATE_DIR = BASE_DIR / ".state"  # generated keys, logs: nothing that the database needs to be complete
env = environ.Env()
VERSION: str = tomllib.loads((BASE_DIR / "pyproject.toml").read_text())["project"]["version"]


def _kept_secret(name: str) -> str:
    """A secret from the environment, else one that is generated once and kept beside the project, mode 0600."""
    value: str = env.str(name, default="")
    if value:
        return value
    path = STATE_DIR / name.lower()
    if not path.exists():
        STATE_DIR.mkdir(mode=0o700, exist_ok=True)
        descriptor, draft = tempfile.mkstemp(dir=STATE_DIR)  # mode 0600
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
        with contextlib.suppress(FileExistsError):  # another first start was quicker: its secret counts
            os.link(draft, path)
        os.unlink(draft)
    return path.read_text()


ROLE = env.str("POSTROOM_ROLE", default="other")  # web, stream, cluster or other: says who may pool connections
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = _kept_secret("SECRET_KEY")
# Seals providers' credentials. The first key seals, the others still open: put a new one in front to rotate.
CREDENTIALS_KEYS = _kept_secret("CREDENTIALS_KEYS").split(",")
# Keys the hashes of the suppression list: changing it would forget who is suppressed.
ADDRESS_KEY = _kept_secret("ADDRESS_KEY")
PORT = env.int("PORT", default=8000)
PUBLIC_URL = env.str("PUBLIC_URL", default=f"http://127.0.0.1:{PORT}").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", PUBLIC_URL.split("://")[-1].split(":")[0]])
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "dashboard.apps.DashboardConfig",
    "tracking",
    "providers",
    "dashboard.apps.PostroomAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "django_q",
    "django_htmx",  # its static files
    "auditlog",
    "axes",
    "django_otp",
    "django_otp.plugins.otp_static",
    "django_otp.plugins.otp_totp",
]
MIDDLEWARE = [
    "dashboard.client.ClientAddress",
    "config.requestlog.RequestLog",
    "django.middleware.security.SecurityMiddleware",
    "dashboard.csp.ContentSecurityPolicy",
    "tracking.middleware.Problems",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "tracking.middleware.DatabaseAway",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_otp.middleware.OTPMiddleware",
    "dashboard.audit.AuditOperators",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- database: DATABASE_URL, else a private PostgreSQL in .postgres/
_database_url: str = env.str("DATABASE_URL", default="") or devpg.ensure(BASE_DIR / ".postgres")
DATABASES = {"default": environ.Env.db_url_config(_database_url)}
_POOLED = ROLE == "web"
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 5,
    # Compiling the sums over the metrics' many columns takes ten times as long as computing them.
    "options": "-c jit=off",
    "application_name": f"postroom-{ROLE}",
    "server_side_binding": True,
    "prepare_threshold": None,  # but see tracking/prepared.py
    # A pool is shared across forks and breaks there: only the web process may have one.
    **({"pool": {"min_size": 2, "max_size": env.int("DATABASE_POOL", default=20), "timeout": 3}} if _POOLED else {}),
}
DATABASES["default"]["CONN_MAX_AGE"] = 0 if _POOLED else None
DATABASES["default"]["CONN_HEALTH_CHECKS"] = not _POOLED
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- operators' login: limits for each pair of user name and address, and a second factor for those who want one
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
# How many proxies of ours stand in front: so many hops of X-Forwarded-For, from the right, are believed.
PROXY_COUNT = env.int("PROXY_COUNT", default=0)
AXES_FAILURE_LIMIT = env.int("LOGIN_FAILURES", default=5)
AXES_COOLOFF_TIME = timedelta(minutes=env.int("LOGIN_LOCK_MINUTES", default=15))
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # knocking again does not make it longer
AXES_USERNAME_CALLABLE = "dashboard.login.username"
AXES_LOCKOUT_CALLABLE = "dashboard.login.locked"
AXES_CLIENT_IP_CALLABLE = "dashboard.client.address"
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True  # successful logins: a table that nobody would read or prune
AXES_VERBOSE = False
OTP_TOTP_ISSUER = "Postroom"
REQUIRE_TOTP = env.str("REQUIRE_TOTP", default="")  # "staff": nobody works here without a second factor
if REQUIRE_TOTP not in ("", "staff"):
    raise environ.ImproperlyConfigured(f"REQUIRE_TOTP is {REQUIRE_TOTP!r}; it may be empty or staff")
# A proxy's headers are read in one place, dashboard.client; the audit log takes what that found.
AUDITLOG_USE_FK_STRING_REPRESENTATION = True
AUDITLOG_CID_GETTER = "config.requestlog.request_id"
AUDITLOG_MASK_CALLABLE = "dashboard.audit.hidden"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_TZ = True
USE_I18N = False

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "dashboard.plotly_finder.PlotlyFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage" if DEBUG else "config.static.HashedFiles"
    },
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True  # else each is compressed twice
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PUBLIC_URL.startswith("https://")
DATA_UPLOAD_MAX_MEMORY_SIZE = 10 * 1024 * 1024  # bytes: the largest request body
DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000

# --- mail of the installation's own: alerts (messages go through provider accounts)
EMAIL_READY = bool(env.str("EMAIL_URL", default=""))
if EMAIL_READY:
    _mail = env.email_url("EMAIL_URL")
    globals().update({name: value for name, value in _mail.items() if name.startswith("EMAIL_")})
EMAIL_TIMEOUT = 5  # seconds, for each step of the conversation
DEFAULT_FROM_EMAIL = env.str("EMAIL_FROM", default="postroom@localhost")

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["tracking.api.authentication.KeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["tracking.api.authentication.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["tracking.api.throttle.PerKey"],
    "DEFAULT_SCHEMA_CLASS": "tracking.api.openapi.AutoSchema",
    "DEFAULT_RENDERER_CLASSES": ["tracking.api.json.Renderer"],
    "DEFAULT_PARSER_CLASSES": ["tracking.api.json.Parser"],
    "DEFAULT_FILTER_BACKENDS": ["django_filters.rest_framework.DjangoFilterBackend"],
    "EXCEPTION_HANDLER": "tracking.api.problems.handler",
    "UNAUTHENTICATED_USER": None,
}

SPECTACULAR_SETTINGS = {
    "TITLE": "Postroom",
    "DESCRIPTION": "Sends messages through providers and says what became of them. Everything below /v1 also answers "
    "below /api/v1.",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "PREPROCESSING_HOOKS": ["tracking.api.openapi.choose"],
    "POSTPROCESSING_HOOKS": ["tracking.api.openapi.add_tags"],
}

# --- workers: resident loops run as django-q2 tasks (tracking/jobs.py); measured values, see docs/decisions/
Q_CLUSTER = {
    "name": "postroom",
    "orm": "default",
    "workers": env.int("WORKERS", default=6),
    "bulk": 1,
    "queue_limit": env.int("WORKERS", default=6),
    "save_limit": -1,
    "timeout": 60,
    "retry": 120,
    "max_attempts": 1,
    "ack_failures": True,
    "catch_up": False,
    "guard_cycle": 0.5,
    "recycle": 200,
    "poll": 0.2,
    "label": "Workers",
}

# --- Postroom's own
WEB_THREADS = env.int("WEB_THREADS", default=8)  # of one web process, as its server was told
BODY_SECONDS = env.float("BODY_SECONDS", default=30.0)  # for one body or answer, while it keeps others waiting
RATE_LIMIT = env.int("RATE_LIMIT", default=30_000)  # requests a minute of one API key; 0: any number
DISPATCH_LOOPS = env.int("DISPATCH_LOOPS", default=1)
RECEIVE_LOOPS = env.int("RECEIVE_LOOPS", default=2)
PUBLISH_LOOPS = env.int("PUBLISH_LOOPS", default=1)
LOOP_SECONDS = env.float("LOOP_SECONDS", default=25.0)
LEASE_SECONDS = env.float("LEASE_SECONDS", default=60.0)  # must outlast every adapter's timeout
PARTITION_WEEKS_AHEAD = env.int("PARTITION_WEEKS_AHEAD", default=6)
CONTENT_RETENTION_DAYS = env.int("CONTENT_RETENTION_DAYS", default=30)
RETENTION_DAYS = env.int("RETENTION_DAYS", default=90)  # of projects without a policy of their own
PURGE_EXPORT_DIR = env.str("PURGE_EXPORT_DIR", default="")  # for projects whose messages are exported before they go
INBOUND_RETENTION_DAYS = env.int("INBOUND_RETENTION_DAYS", default=30)  # providers' raw requests
UNMATCHED_HORIZON_HOURS = env.int("UNMATCHED_HORIZON_HOURS", default=72)
IDEMPOTENCY_HOURS = 24
# Networks of our own that webhooks may be sent to, as 10.1.0.0/16: every other private address is refused.
WEBHOOK_NETWORKS = tuple(ip_network(each) for each in env.list("WEBHOOK_NETWORKS", default=[]))
WEBHOOK_RETENTION_DAYS = env.int("WEBHOOK_RETENTION_DAYS", default=30)
# Streams and long polls are answered by a process of their own; this is where clients are sent for them.
STREAM_PORT = env.int("STREAM_PORT", default=PORT + 1)
STREAM_URL = env.str("STREAM_URL", default=f"http://{urlsplit(PUBLIC_URL).hostname}:{STREAM_PORT}").rstrip("/")
STREAM_HOURS = env.int("STREAM_HOURS", default=24)  # for which a stream that broke off can be resumed
STREAMS_PER_KEY = env.int("STREAMS_PER_KEY", default=200)  # open at once, long polls included

# Files of exports: a directory that the web processes and the workers share.
EXPORT_DIR = Path(env.str("EXPORT_DIR", default=str(STATE_DIR / "exports")))
EXPORT_DAYS = env.int("EXPORT_DAYS", default=7)  # for how long a file is kept
EXPORT_LINK_HOURS = env.int("EXPORT_LINK_HOURS", default=24)  # for how long a download address works
EXPORT_MAX_GB = env.int("EXPORT_MAX_GB", default=5)  # a larger file is given up
EXPORT_KEPT_GB = env.int("EXPORT_KEPT_GB", default=20)  # a project that keeps files of so much gets no further export

METRICS_TOKEN = env.str("METRICS_TOKEN", default="")  # what Prometheus shows to read /metrics; empty: no /metrics

LOG_FORMAT = env.str("LOG_FORMAT", default="text")  # text or json
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "config.logs.formatter", "style": LOG_FORMAT}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.server": {"handlers": ["stderr"], "level": "WARNING", "propagate": False},  # runserver's own lines
        "django.db.backends": {"level": "INFO"},  # statements hold what messages hold
        "axes": {"level": "WARNING"},
    },
}
