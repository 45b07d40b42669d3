import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.opensearch.analysis.common.CommonAnalysisPlugin;
import org.opensearch.common.settings.Settings;
import org.opensearch.env.Environment;
import org.opensearch.index.mapper.MapperExtrasPlugin;
import org.opensearch.index.reindex.ReindexPlugin;
import org.opensearch.ingest.common.IngestCommonPlugin;
import org.opensearch.node.Node;
import org.opensearch.painless.PainlessPlugin;
import org.opensearch.plugins.Plugin;
import org.opensearch.script.mustache.MustachePlugin;
import org.opensearch.transport.Netty4Plugin;

/** Runs one OpenSearch node on a random loopback port. Its arguments are the home folder and settings, each
 * as name=value; it prints "READY host:port". */
public final class OpenSearchNode extends Node {
    private OpenSearchNode(Environment environment, List<Class<? extends Plugin>> plugins) {
        super(environment, plugins, false);
    }

    public static void main(String[] args) throws Exception {
        Path home = Path.of(args[0]);
        Settings.Builder builder = Settings.builder()
            .put("path.home", home.toString())
            .put("cluster.name", "products")
            .put("node.name", "node")
            .put("node.portsfile", true)
            .put("network.host", "127.0.0.1")
            .put("http.port", "0")
            .put("transport.port", "0")
            .put("discovery.type", "single-node")
            .put("cluster.routing.allocation.disk.threshold_enabled", false)
            .put("transport.type", "netty4")
            .put("http.type", "netty4");
        for (int i = 1; i < args.length; i++) {
            builder.put(args[i].substring(0, args[i].indexOf('=')), args[i].substring(args[i].indexOf('=') + 1));
        }
        Settings settings = builder.build();
        Environment environment = new Environment(settings, home.resolve("config"));
        new OpenSearchNode(environment, List.of(
            Netty4Plugin.class, PainlessPlugin.class, MustachePlugin.class, IngestCommonPlugin.class,
            CommonAnalysisPlugin.class, MapperExtrasPlugin.class, ReindexPlugin.class)).start();
        System.out.println("READY " + Files.readAllLines(home.resolve("logs/http.ports")).get(0));
        System.in.read(); // ends when the test process does
        Runtime.getRuntime().halt(0);
    }
}
