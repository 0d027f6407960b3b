"""The only outgoing HTTP client. Called by the adapters and by whoever publishes webhooks.

Every call has a total timeout, follows no redirect, ignores proxy variables and reads at most 64 KiB of the answer.
With an `AddressPolicy` it connects only to an address that was checked, and to that very address, so that neither an odd
spelling of an IP nor a name that resolves differently the second time reaches the inner network.

A failure says whether anything was written: a request of which nothing was written may be sent again, one whose
answer was lost has an unknown outcome. Not covered by the timeout: the resolver, which has a timeout of its own.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import os
import socket
import ssl
import threading
import time
from collections.abc import Buffer, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context

from providers.base import Classification, FailureClass, ProviderError
from providers.classify import classify
