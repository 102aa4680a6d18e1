package sandbox;

import java.io.IOException;
import java.net.BindException;
import java.nio.file.Path;
import java.util.Map;
import org.apache.helix.HelixManager;
import org.apache.helix.HelixManagerFactory;
import org.apache.helix.InstanceType;
import org.apache.helix.model.Message.MessageType;

/**
 * A Pinot server without the server's own artifact, which Maven Central lacks: a Helix participant over pinot-core's real
 * table data managers, with the admin API that the controller calls.
 *
 * <p>{@link #open}, registration with the cluster, {@link #join}, {@link #stop}; then the same again. Name and disk stay.
 */
final class SegmentServer {
  private final String _cluster;
  private final String _zooKeeper;
  private final String _host;
  private final String _deepStore;
  private final String _name;
  private final Path _home;

  private AdminApi _admin;
  private ServerTables _tables;
  private HelixManager _helix;
  private volatile boolean _running;

  /**
   * A server with any free port, which is in its name.
   *
   * @param servers the folder that the servers have theirs in
   * @param deepStore where it commits segments to of tables that want them from the server and not from the controller
   */
  SegmentServer(String cluster, String zooKeeper, String host, Path servers, String deepStore)
      throws IOException {
    _cluster = cluster;
    _zooKeeper = zooKeeper;
    _host = host;
    _deepStore = deepStore;
    _admin = new AdminApi(host, 0);
    _name = "Server_" + host + "_" + _admin.port();
    _home = servers.resolve(_name);
    CountingSegmentFetcher.register(dataDir(), _name);
  }

  String name() {
    return _name;
  }

  /** All its files. */
  Path home() {
    return _home;
  }

  /** Where its segments are. */
  Path dataDir() {
    return ServerTables.dataDir(_home);
  }

  int adminPort() {
    return _admin.port();
  }

  String adminUrl() {
    return "http://" + _host + ":" + _admin.port();
  }

  boolean isRunning() {
    return _running;
  }

  ServerTables tables() {
    return _tables;
  }

  Map<String, Long> loadMs() {
    return _tables.loadMs();
  }

  /** Listens, with no table yet. The admin port is the last one, or another if that was taken meanwhile. */
  void open()
      throws IOException {
    if (_admin.isStopped()) {
      int last = _admin.port();
      try {
        _admin = new AdminApi(_host, last);
      } catch (BindException e) {
        _admin = new AdminApi(_host, 0);
      }
    }
    _helix = HelixManagerFactory.getZKHelixManager(_cluster, _name, InstanceType.PARTICIPANT, _zooKeeper);
    _tables = new ServerTables(_name, _home, _deepStore, _helix);
    _admin.start(_name, _tables);
  }

  /** Joins the cluster; Helix then sends the transitions that load the segments. */
  void join()
      throws Exception {
    _helix.getStateMachineEngine()
        .registerStateModelFactory(SegmentTransitions.STATE_MODEL, new SegmentTransitions(_tables));
    _helix.getMessagingService()
        .registerMessageHandlerFactory(MessageType.USER_DEFINE_MSG.toString(), new ServerMessages(_tables));
    _helix.addPreConnectCallback(_tables::connected);
    _helix.connect();
    _running = true;
  }

  void stop() {
    if (_running) {
      _running = false;
      _helix.disconnect();
      _admin.stop();
      _tables.shutDown();
    }
  }
}
