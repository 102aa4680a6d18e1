package sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeoutException;
import java.util.stream.IntStream;
import org.apache.commons.io.FileUtils;
import org.apache.helix.HelixAdmin;
import org.apache.helix.HelixException;
import org.apache.helix.HelixManager;
import org.apache.helix.HelixManagerFactory;
import org.apache.helix.InstanceType;
import org.apache.helix.manager.zk.ZKHelixAdmin;
import org.apache.helix.model.ExternalView;
import org.apache.helix.model.IdealState;
import org.apache.helix.model.InstanceConfig;
import org.apache.helix.store.zk.ZkHelixPropertyStore;
import org.apache.helix.zookeeper.datamodel.ZNRecord;
import org.apache.pinot.common.metadata.ZKMetadataProvider;
import org.apache.pinot.common.metrics.ServerMetrics;
import org.apache.pinot.common.utils.LLCSegmentName;
import org.apache.pinot.controller.ControllerConf;
import org.apache.pinot.controller.ControllerStarter;
import org.apache.pinot.controller.helix.core.minion.PinotHelixTaskResourceManager;
import org.apache.pinot.core.data.manager.realtime.SegmentBuildTimeLeaseExtender;
import org.apache.pinot.core.minion.PinotTaskConfig;
import org.apache.pinot.server.realtime.ControllerLeaderLocator;
import org.apache.pinot.server.realtime.ServerSegmentCompletionProtocolHandler;
import org.apache.pinot.spi.config.table.TableConfig;
import org.apache.pinot.spi.env.PinotConfiguration;
import org.apache.pinot.spi.metrics.PinotMetricUtils;
import org.apache.pinot.spi.utils.CommonConstants.Helix.Instance;
import org.apache.pinot.spi.utils.CommonConstants.Helix.StateModel.SegmentStateModel;
import org.apache.pinot.spi.utils.IngestionConfigUtils;
import org.apache.pinot.spi.utils.builder.TableNameBuilder;
import org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/** ZooKeeper, Pinot's own controller and the segment servers, all of them on 127.0.0.1. */
final class Cluster {
  private static final String NAME = "sandbox";
  private static final String HOST = "127.0.0.1";
  private static final long STOP_TIMEOUT_MS = 30_000;

  /** How a server came up: seconds until all its segments were online or consuming, and what loading each took. */
  record ServerStart(double seconds, Map<String, Long> loadMs) {
  }

  private final Path _root;
  private final String _zooKeeper;
  private final String _controllerUrl;
  private final HelixAdmin _admin;
  private ControllerStarter _controller;
  private final QueryEngine _queries;
  private ZkHelixPropertyStore<ZNRecord> _properties;
  /** By instance name, in the order of creation. A stopped server stays, and is not running. */
  private final Map<String, SegmentServer> _servers = new LinkedHashMap<>();

  Cluster(JsonNode config)
      throws Exception {
    _root = Path.of(config.get("root").asText());
    _zooKeeper = HOST + ":" + startZooKeeper();
    int controllerPort = freePort();
    startController(controllerPort, config.get("s3"));
    _controllerUrl = "http://" + HOST + ":" + controllerPort;
    _admin = new ZKHelixAdmin.Builder().setZkAddress(_zooKeeper).build();
    startSpectator();
    ServerMetrics.register(new ServerMetrics(PinotMetricUtils.getPinotMetricsRegistry()));
    _queries = new QueryEngine();
    // The controller refuses a table whose tenant has no broker. There is none here: QueryEngine does its part.
    register("Broker_" + HOST + "_1", 1, List.of("DefaultTenant_BROKER"));
    for (int i = 0; i < config.get("servers").asInt(); i++) {
      SegmentServer server = new SegmentServer(NAME, _zooKeeper, HOST, _root.resolve("servers"),
          config.get("s3").get("dataDir").asText());
      start(server);
      _servers.put(server.name(), server);
    }
  }

  /** What the other side needs to know: the controller's address, and every server with its admin address. */
  Map<String, Object> describe() {
    Map<String, Object> servers = new LinkedHashMap<>();
    synchronized (_servers) {
      _servers.forEach((name, server) -> servers.put(name,
          Map.of("adminUrl", server.adminUrl(), "dataDir", server.dataDir().toString(), "running",
              server.isRunning())));
    }
    return Map.of("controllerUrl", _controllerUrl, "zooKeeper", _zooKeeper, "servers", servers);
  }

  /** Asks all servers in turn, or only one of them where that is not null. */
  List<List<Object>> query(String sql, String server)
      throws Exception {
    return _queries.query(sql, running().stream().filter(each -> server == null || each.name().equals(server)).toList(),
        table -> _admin.getResourceIdealState(NAME, table));
  }

  /**
   * Waits until nothing is left of a deleted table. Its servers let it go by a message, its external view goes later: a
   * table of the same name made before that would be let go as well, or be seen as loaded when it is not.
   */
  void awaitTableGone(String table)
      throws Exception {
    long deadline = System.currentTimeMillis() + STOP_TIMEOUT_MS;
    while (_admin.getResourceExternalView(NAME, table) != null || running().stream()
        .anyMatch(server -> server.tables().get(table) != null)) {
      pause(deadline, "table " + table + " is deleted, but not gone from servers or external view");
    }
  }

  /** Waits until every consuming segment of a table has read what its partition of the stream has now. */
  void awaitConsumed(String table, long timeoutMs)
      throws Exception {
    awaitConsumed(table, running(), System.currentTimeMillis() + timeoutMs);
  }

  /** Takes a server out of the cluster, and waits until the controller has noticed. */
  void stopServer(String name)
      throws Exception {
    SegmentServer server = server(name);
    synchronized (server) {
      server.stop();
      long deadline = System.currentTimeMillis() + STOP_TIMEOUT_MS;
      while (!segments(name, true).isEmpty()) {
        pause(deadline, "server " + name + " is stopped, but still in the external view");
      }
    }
  }

  /**
   * Starts a stopped server, on an empty disk if asked to, and waits until all its segments are online, and those that
   * consume have caught up with their stream.
   */
  ServerStart startServer(String name, boolean wipe, long timeoutMs)
      throws Exception {
    SegmentServer server = server(name);
    synchronized (server) {
      if (server.isRunning()) {
        throw new IllegalStateException("server " + name + " is running already: stop it first");
      }
      if (wipe) {
        FileUtils.deleteDirectory(server.home().toFile());
      }
      long begin = System.nanoTime();
      long deadline = System.currentTimeMillis() + timeoutMs;
      start(server);
      while (true) {
        Map<String, String> wanted = segments(name, false);
        Map<String, String> actual = segments(name, true);
        if (actual.containsValue(SegmentStateModel.ERROR)) {
          throw new IllegalStateException("server " + name + " could not load " + actual + ": see the JVM's log");
        }
        if (wanted.equals(actual)) {
          double seconds = (System.nanoTime() - begin) / 1e9;
          for (String table : server.tables().names()) {
            if (TableNameBuilder.isRealtimeTableResource(table)) {
              awaitConsumed(table, List.of(server), deadline);
            }
          }
          return new ServerStart(seconds, server.loadMs());
        }
        pause(deadline, "server " + name + " has " + actual + " online, and should have " + wanted);
      }
    }
  }

  /** Has a running server replace segments whose CRC is not ZooKeeper's, as it does by default, or not. */
  void checkCrcs(String name, boolean on) {
    server(name).tables().checkCrcs(on);
  }

  /** Submits a task to the minions, of which there are none: it waits. Returns its name. */
  String submitTask(String type, JsonNode configs) {
    PinotHelixTaskResourceManager tasks = _controller.getHelixTaskResourceManager();
    tasks.ensureTaskQueueExists(type);
    Map<String, String> given = new HashMap<>();
    configs.fields().forEachRemaining(config -> given.put(config.getKey(), config.getValue().asText()));
    return tasks.submitTask(List.of(new PinotTaskConfig(type, given)), 3_600_000, 1, 1);
  }

  /** Removes all tasks of a type, and waits until they are gone. */
  void deleteTasks(String type)
      throws Exception {
    PinotHelixTaskResourceManager tasks = _controller.getHelixTaskResourceManager();
    long deadline = System.currentTimeMillis() + STOP_TIMEOUT_MS;
    while (tasks.getTaskTypes().contains(type)) {
      try {
        tasks.deleteTaskQueue(type, true);
      } catch (HelixException e) { // the controller is at work on it
        pause(deadline, "the tasks of type " + type + " cannot be removed: " + e.getMessage());
      }
    }
  }

  private void awaitConsumed(String table, List<SegmentServer> servers, long deadline)
      throws Exception {
    TableConfig config = ZKMetadataProvider.getTableConfig(_properties, table);
    if (config == null) {
      throw new IllegalArgumentException("no table " + table);
    }
    MemoryStream stream = MemoryStream.get(IngestionConfigUtils.getFirstStreamConfig(config).getTopicName());
    int[] ends = IntStream.range(0, stream.partitions()).map(stream::end).toArray();
    while (true) {
      IdealState ideal = _admin.getResourceIdealState(NAME, table);
      List<String> behind = new ArrayList<>();
      for (SegmentServer server : servers) {
        for (String segment : ideal.getPartitionSet()) {
          if (SegmentStateModel.CONSUMING.equals(ideal.getInstanceStateMap(segment).get(server.name()))
              && !server.tables().hasConsumed(table, segment, ends[new LLCSegmentName(segment).getPartitionGroupId()])) {
            behind.add(segment + " on " + server.name());
          }
        }
      }
      if (behind.isEmpty()) {
        return;
      }
      pause(deadline, "the stream is not consumed yet by " + behind);
    }
  }

  private List<SegmentServer> running() {
    synchronized (_servers) {
      return _servers.values().stream().filter(SegmentServer::isRunning).toList();
    }
  }

  private SegmentServer server(String name) {
    synchronized (_servers) {
      SegmentServer server = _servers.get(name);
      if (server == null) {
        throw new IllegalArgumentException("no server " + name + ": there are " + _servers.keySet());
      }
      return server;
    }
  }

  private void start(SegmentServer server)
      throws Exception {
    server.open();
    register(server.name(), server.adminPort(), List.of("DefaultTenant_OFFLINE", "DefaultTenant_REALTIME"));
    server.join();
  }

  private void register(String name, int port, List<String> tags) {
    InstanceConfig config = new InstanceConfig(name);
    config.setHostName(HOST);
    config.setPort(name.substring(name.lastIndexOf('_') + 1));
    config.setInstanceEnabled(true);
    tags.forEach(config::addTag);
    config.getRecord().setIntField(Instance.ADMIN_PORT_KEY, port);
    if (_admin.getInstancesInCluster(NAME).contains(name)) {
      _admin.setInstanceConfig(NAME, name, config);
    } else {
      _admin.addInstance(NAME, config);
    }
  }

  /** The state of each segment on a server, by {@code table/segment}: as seen, or as it should be. */
  private Map<String, String> segments(String server, boolean actual) {
    Map<String, String> states = new HashMap<>();
    for (String table : _admin.getResourcesInCluster(NAME)) {
      if (!TableNameBuilder.isTableResource(table)) {
        continue;
      }
      IdealState ideal = _admin.getResourceIdealState(NAME, table);
      ExternalView view = _admin.getResourceExternalView(NAME, table);
      for (String segment : ideal == null ? List.<String>of() : new ArrayList<>(ideal.getPartitionSet())) {
        Map<String, String> byServer = !actual ? ideal.getInstanceStateMap(segment)
            : view == null ? null : view.getStateMap(segment);
        if (byServer != null && byServer.containsKey(server)) {
          states.put(table + "/" + segment, byServer.get(server));
        }
      }
    }
    return states;
  }

  private static void pause(long deadline, String what)
      throws InterruptedException, TimeoutException {
    if (System.currentTimeMillis() > deadline) {
      throw new TimeoutException("timed out: " + what);
    }
    Thread.sleep(20);
  }

  private int startZooKeeper()
      throws Exception {
    System.setProperty("zookeeper.admin.enableServer", "false");
    Path dir = _root.resolve("zookeeper");
    ZooKeeperServer server = new ZooKeeperServer(dir.toFile(), dir.toFile(), ZooKeeperServer.DEFAULT_TICK_TIME);
    NIOServerCnxnFactory connections = new NIOServerCnxnFactory();
    connections.configure(new InetSocketAddress(HOST, 0), 0); // any free port, any number of clients
    connections.startup(server);
    return connections.getLocalPort();
  }

  private void startController(int port, JsonNode s3)
      throws Exception {
    Map<String, Object> config = new HashMap<>();
    config.put("controller.helix.cluster.name", NAME);
    config.put("controller.zk.str", _zooKeeper);
    config.put("controller.host", HOST);
    config.put("controller.vip.host", HOST);
    config.put("controller.vip.port", Integer.toString(port));
    config.put("controller.access.protocols", "http"); // controller.port alone would listen on every address
    config.put("controller.access.protocols.http.host", HOST);
    config.put("controller.access.protocols.http.port", Integer.toString(port));
    config.put("controller.local.temp.dir", _root.resolve("controller").toString());
    config.put("controller.data.dir", s3.get("dataDir").asText());
    config.put("pinot.controller.storage.factory.class.s3", "org.apache.pinot.plugin.filesystem.S3PinotFS");
    config.put("pinot.controller.storage.factory.s3.region", s3.get("region").asText());
    config.put("pinot.controller.storage.factory.s3.endpoint", s3.get("endpointUrl").asText());
    config.put("pinot.controller.storage.factory.s3.accessKey", s3.get("accessKey").asText());
    config.put("pinot.controller.storage.factory.s3.secretKey", s3.get("secretKey").asText());
    // File systems and fetchers are one for a JVM, so the controller's settings serve the servers as well.
    config.put("pinot.controller.segment.fetcher.protocols", "file,http,s3");
    config.put("pinot.controller.segment.fetcher.s3.class", CountingSegmentFetcher.class.getName());
    _controller = new ControllerStarter();
    _controller.init(new ControllerConf(config));
    _controller.start();
  }

  /** What servers in one JVM share to find the controller and the property store, and does not end with one of them. */
  private void startSpectator()
      throws Exception {
    HelixManager spectator =
        HelixManagerFactory.getZKHelixManager(NAME, "spectator", InstanceType.SPECTATOR, _zooKeeper);
    spectator.connect();
    _properties = spectator.getHelixPropertyStore();
    ControllerLeaderLocator.create(spectator);
    ServerSegmentCompletionProtocolHandler.init(new PinotConfiguration(Map.of(), Map.of()));
    SegmentBuildTimeLeaseExtender.initExecutor();
  }

  private static int freePort()
      throws IOException {
    try (ServerSocket socket = new ServerSocket(0, 1, InetAddress.getByName(HOST))) {
      return socket.getLocalPort();
    }
  }
}
