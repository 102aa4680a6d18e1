package sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.BindException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import org.apache.commons.io.FileUtils;
import org.apache.commons.lang3.exception.ExceptionUtils;
import org.apache.pinot.spi.utils.JsonUtils;

/**
 * Runs the cluster in this JVM and takes requests on standard input, one JSON object a line.
 *
 * <p>The first line is the configuration (it carries the gateway's credentials, so that they are on no command line); the
 * answer to it says that the cluster is up. After that {@code {"id", "op", "args"}} is answered by {@code {"id",
 * "result"}} or {@code {"id", "error"}}, in the order in which the work ends. When standard input closes, or "end" is asked
 * for, whoever started the JVM is dead or done: it removes its folder if it was told that the folder is its own, and ends.
 */
public final class Main {
  private final PrintStream _answers;
  private final JsonNode _config;
  private final ExecutorService _workers = Executors.newCachedThreadPool();
  private volatile Cluster _cluster;
  private volatile boolean _failed;

  private Main(PrintStream answers, JsonNode config) {
    _answers = answers;
    _config = config;
  }

  public static void main(String[] args)
      throws IOException {
    PrintStream answers = System.out;
    System.setOut(System.err); // libraries print to it; standard output is for answers alone
    BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    String first = requests.readLine();
    if (first == null) {
      return;
    }
    Main main = new Main(answers, JsonUtils.stringToJsonNode(first));
    main._workers.submit(main::start);
    String line;
    while ((line = requests.readLine()) != null) {
      JsonNode request = JsonUtils.stringToJsonNode(line);
      if (request.get("op").asText().equals("end")) {
        break;
      }
      main._workers.submit(() -> main.serve(request));
    }
    main.end();
  }

  private void start() {
    ObjectNode answer = JsonUtils.newObjectNode();
    try {
      _cluster = new Cluster(_config);
      answer.set("result", JsonUtils.objectToJsonNode(_cluster.describe()));
    } catch (Throwable e) {
      e.printStackTrace();
      _failed = true;
      answer.put("error", ExceptionUtils.getRootCauseMessage(e));
      answer.put("portTaken", ExceptionUtils.indexOfType(e, BindException.class) >= 0);
    }
    send(answer.put("id", 0));
  }

  private void serve(JsonNode request) {
    ObjectNode answer = JsonUtils.newObjectNode().put("id", request.get("id").asLong());
    try {
      answer.set("result", JsonUtils.objectToJsonNode(perform(request.get("op").asText(), request.get("args"))));
    } catch (Throwable e) {
      e.printStackTrace();
      answer.put("error", String.valueOf(e.getMessage() == null ? e : e.getMessage()));
    }
    send(answer);
  }

  private Object perform(String operation, JsonNode args)
      throws Exception {
    switch (operation) {
      case "query":
        return _cluster.query(args.get("sql").asText(), args.path("server").textValue());
      case "buildSegment":
        return SegmentBuilder.build(args);
      case "createStream":
        MemoryStream.create(args.get("name").asText(), args.get("partitions").asInt());
        return null;
      case "produce":
        MemoryStream.get(args.get("stream").asText()).append(args.get("partition").asInt(), args.get("rows"));
        return null;
      case "awaitConsumed":
        _cluster.awaitConsumed(args.get("table").asText(), args.get("timeoutMs").asLong());
        return null;
      case "downloads":
        return CountingSegmentFetcher.counts();
      case "resetDownloads":
        CountingSegmentFetcher.reset();
        return null;
      case "awaitTableGone":
        _cluster.awaitTableGone(args.get("table").asText());
        return null;
      case "stopServer":
        _cluster.stopServer(args.get("name").asText());
        return null;
      case "startServer":
        return _cluster.startServer(args.get("name").asText(), args.get("wipe").asBoolean(),
            args.get("timeoutMs").asLong());
      case "checkCrcs":
        _cluster.checkCrcs(args.get("name").asText(), args.get("on").asBoolean());
        return null;
      case "submitTask":
        return _cluster.submitTask(args.get("type").asText(), args.get("configs"));
      case "deleteTasks":
        _cluster.deleteTasks(args.get("type").asText());
        return null;
      case "servers":
        return _cluster.describe().get("servers");
      default:
        throw new IllegalArgumentException("no such operation: " + operation);
    }
  }

  private void send(ObjectNode answer) {
    synchronized (_answers) {
      _answers.println(answer);
      _answers.flush();
    }
  }

  /** Nothing in the sandbox outlives it, so there is nothing to shut down in order. A failed start may be tried again. */
  private void end() {
    if (_config.get("removeRoot").asBoolean() && !_failed) {
      Path root = Path.of(_config.get("root").asText());
      for (int i = 0; i < 3 && root.toFile().exists(); i++) { // servers still run and may write while it goes
        FileUtils.deleteQuietly(root.toFile());
      }
    }
    Runtime.getRuntime().halt(0);
  }
}
