"""The connection type `pinot_controller`: a Pinot controller, and with the same credentials the servers' admin ports.

Fields: host (a name, or a whole URL such as `https://pinot.example.com/controller`), port, schema (`http` or
`https`), login and password for basic authentication. Extra, all optional: `token` (bearer token, instead of login
and password), `database` (sent as Pinot's `Database` header), `verify` (false, or the path of a CA file or folder;
the system's CAs otherwise), `client_cert` and `client_key` (paths of PEM files for mutual TLS).
"""

from __future__ import annotations

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from airflow.sdk.log import mask_secret

from deep_store_sync.errors import ConfigError, DeepStoreSyncError
from deep_store_sync.pinot.access import Access, read_access
from deep_store_sync.pinot.controller import ControllerClient
from deep_store_sync.pinot.servers import ServerClient


class PinotControllerHook(BaseHook):
    """Makes clients for a Pinot controller and its servers out of an Airflow connection.

    Timeouts are seconds. `retries` counts further tries of calls that only read.
    """

    conn_name_attr = "pinot_conn_id"
    default_conn_name = "pinot_controller_default"
    conn_type = "pinot_controller"
    hook_name = "Pinot Controller"

    def __init__(
        self,
        pinot_conn_id: str = default_conn_name,
        *,
        timeout_s: float = 60,
        server_timeout_s: float = 30,
        retries: int = 3,
    ) -> None:
        super().__init__()
        self.pinot_conn_id = pinot_conn_id
        self.timeout_s = timeout_s
        self.server_timeout_s = server_timeout_s
        self.retries = retries

    def get_conn(self) -> ControllerClient:
        """A client for the controller; the caller closes it.

        Raises:
            ConfigError: the connection is wrong, or names a file that cannot be read.
        """
        return self._controller(self._connection())

    async def aget_conn(self) -> ControllerClient:
        """`get_conn` for a trigger: the connection is fetched without blocking the event loop."""
        try:
            connection = await self.aget_connection(self.pinot_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None
        return self._controller(connection)

    def get_server_client(self) -> ServerClient:
        """A client for the servers' admin ports, with the controller's credentials and TLS; the caller closes it.

        Raises:
            ConfigError: the connection is wrong, or names a file that cannot be read.
        """
        return read_connection(self._connection()).servers(timeout_s=self.server_timeout_s)

    def address(self) -> str:
        """The controller's URL, without credentials.

        Raises:
            ConfigError: the connection is wrong.
        """
        return read_connection(self._connection()).base_url

    def test_connection(self) -> tuple[bool, str]:
        """What Airflow's test button shows: whether a controller answers, and its version or what is wrong."""
        self.retries = 0  # who has pressed it waits
        try:
            with self.get_conn() as controller:
                return True, f"Pinot {controller.version()} answers"
        except DeepStoreSyncError as error:
            return False, str(error)

    def _connection(self) -> Connection:
        try:
            return self.get_connection(self.pinot_conn_id)
        except AirflowNotFoundException:
            raise self._missing() from None

    def _missing(self) -> ConfigError:
        return ConfigError(
            f"connection {self.pinot_conn_id}: not found; create it with type {self.conn_type}, or set "
            "controllerConnection in the table's file to the one that is there"
        )

    def _controller(self, connection: Connection) -> ControllerClient:
        return read_connection(connection).controller(timeout_s=self.timeout_s, retries=self.retries)


def read_connection(connection: Connection) -> Access:
    """Reads a connection of type `pinot_controller` and masks its secrets in logs.

    Raises:
        ConfigError: a field is missing or wrong.
    """
    access = read_access(
        f"connection {connection.conn_id}",
        host=connection.host,
        port=connection.port,
        schema=connection.schema,
        login=connection.login,
        password=connection.password,
        extra=connection.extra_dejson,
    )
    for secret in access.secrets:
        mask_secret(secret)
    return access
