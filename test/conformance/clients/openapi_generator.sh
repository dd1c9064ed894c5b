#!/usr/bin/env bash
# Clients that openapi-generator makes from /openapi.json must compile and classify an image: Python, Java (native), Go and
# TypeScript. Run by hand, because it needs a JVM, Maven and Go: openapi_generator.sh URL. Prints a line per client,
# such as "java 2 2" (the label, and the number of predictions).
set -euo pipefail
url=${1:?expected the address of a server of models/mnist}
here=$(cd "$(dirname "$0")" && pwd)
image=$here/../../../models/mnist/sample.png
version=7.25.0
mkdir -p "$here/generated"
cd "$here/generated"
central=https://repo1.maven.org/maven2/org/openapitools/openapi-generator-cli
[ -f "$version.jar" ] || curl -sSfo "$version.jar" "$central/$version/openapi-generator-cli-$version.jar"
curl -sSfo openapi.json "$url/openapi.json"
generate() { # NAME GENERATOR [OPTION...]
  rm -rf "$1"
  java -jar "$version.jar" generate -i openapi.json -g "$2" -o "$1" "${@:3}" > "$1.log" 2>&1 || { cat "$1.log"; exit 1; }
}

generate python python
python3 -m venv python/.venv
python/.venv/bin/pip install --quiet --disable-pip-version-check ./python
python/.venv/bin/python - "$url" "$image" << 'PYTHON'
import sys
from openapi_client import ApiClient, Configuration, OnnxpressApi

url, image = sys.argv[1:]
with ApiClient(Configuration(host=url)) as client:
    result = OnnxpressApi(client).post_predict(image, top_k=2)
print("python", result.label, len(result.predictions))
PYTHON

generate java java --library native --additional-properties=hideGenerationTimestamp=true
mkdir -p java/src/main/java/main
cat > java/src/main/java/main/Main.java << 'JAVA'
package main;

import java.io.File;
import org.openapitools.client.ApiClient;
import org.openapitools.client.api.OnnxpressApi;
import org.openapitools.client.model.Result;

public class Main {
  public static void main(String[] args) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(args[0]);
    Result result = new OnnxpressApi(client).postPredict(new File(args[1]), 2);
    System.out.println("java " + result.getLabel() + " " + result.getPredictions().size());
  }
}
JAVA
(cd java && mvn -q -B -DskipTests -Dmaven.test.skip=true package dependency:copy-dependencies)
java -cp "java/target/classes:java/target/dependency/*" main.Main "$url" "$image"

generate go go --additional-properties=packageName=onnxpress
mkdir -p go/main
cat > go/main/main.go << 'GO'
package main

import (
	"context"
	"fmt"
	"os"

	onnxpress "github.com/GIT_USER_ID/GIT_REPO_ID"
)

func main() {
	configuration := onnxpress.NewConfiguration()
	configuration.Servers = onnxpress.ServerConfigurations{{URL: os.Args[1]}}
	image, err := os.Open(os.Args[2])
	if err != nil {
		panic(err)
	}
	api := onnxpress.NewAPIClient(configuration).OnnxpressAPI
	result, _, err := api.PostPredict(context.Background()).Image(image).TopK(2).Execute()
	if err != nil {
		panic(err)
	}
	fmt.Println("go", result.Label, len(result.Predictions))
}
GO
(cd go && go vet . ./main && go run ./main "$url" "$image")

generate typescript-fetch typescript-fetch
cat > typescript-fetch/main.ts << 'TYPESCRIPT'
import { readFile } from 'node:fs/promises'
import { Configuration, OnnxpressApi } from './index'

const [basePath, file] = process.argv.slice(2)
const image = new Blob([new Uint8Array(await readFile(file))])
const result = await new OnnxpressApi(new Configuration({ basePath })).postPredict({ image, topK: 2 })
console.log('typescript-fetch', result.label, result.predictions.length)
TYPESCRIPT
npx --yes --package typescript@5.9.3 tsc --strict --noEmit --module esnext --moduleResolution bundler --target es2023 \
  --lib es2023,dom,dom.iterable --skipLibCheck typescript-fetch/index.ts
echo '{"type":"module"}' > typescript-fetch/package.json
npx --yes --package tsx@4.23.1 tsx typescript-fetch/main.ts "$url" "$image"
